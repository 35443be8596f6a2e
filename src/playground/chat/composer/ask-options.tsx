import { useSignal } from '@preact/signals';
import { prefixes } from '../../edge/account.ts';
import { toolsOfEdge } from '../../edge/client.ts';
import { chooseModel, model, models } from '../../edge/models.ts';
import { CheckboxChip, Select } from '../../ui/form.tsx';
import { session } from '../session/conversations.ts';
import { edgeTools, maxTokens, prefix, thinking, tools } from '../session/options.ts';
import { PrefixDialog } from './prefix-dialog.tsx';

const NEW = '+';
const MOST_TOKENS = [256, 1_024, 4_096, 16_384];

/** Shows the options of the next question: model, prefix, and more. */
export function AskOptions() {
  const asks = useSignal(false);
  const current = session.value;
  const held = current?.report.value?.prefix?.split('@')[0];
  const stored = prefixes.value.map(({ name }) => name);
  const names = held === undefined || stored.includes(held) ? stored : [held, ...stored];
  const choosePrefix = (value: string) => {
    if (value === NEW) asks.value = true;
    else prefix.value = value;
  };
  return (
    <div class="row ask-options">
      <Select
        label="Model"
        value={model.value?.id}
        options={models.value.map(({ id, display_name }) => [id, display_name])}
        onChoose={chooseModel}
      />
      <Select
        label="Prefix"
        // A conversation keeps the prefix that it began with.
        disabled={current !== undefined}
        title={current ? 'A conversation holds the prefix that it began with' : 'A stored beginning of the prompt'}
        value={current ? (held ?? '') : prefix.value}
        options={[['', 'No prefix'], ...names, [NEW, 'New prefix…']]}
        onChoose={choosePrefix}
      />
      <Select
        label="Most tokens of an answer"
        title="max_tokens"
        value={maxTokens.value}
        options={MOST_TOKENS.map((most) => [most, `≤ ${most.toLocaleString('en')}`])}
        onChoose={(most) => (maxTokens.value = Number(most))}
      />
      <CheckboxChip name="Thinking" value={thinking} />
      <CheckboxChip name="Tools" value={tools} title="A clock and dice that run in this page" />
      {toolsOfEdge.value.length > 0 && (
        <CheckboxChip
          name="Edge tools"
          value={edgeTools}
          title={`The edge calls them itself: ${toolsOfEdge.value.join(', ')}`}
        />
      )}
      {asks.value && (
        <PrefixDialog
          onClose={() => (asks.value = false)}
          onStored={(name) => {
            prefix.value = name;
            asks.value = false;
          }}
        />
      )}
    </div>
  );
}
