import { useSignal } from '@preact/signals';
import { prefixes } from '../../edge/account.ts';
import { chooseModel, model, models } from '../../edge/models.ts';
import { CheckboxChip } from '../../ui/chip.tsx';
import { session } from '../session/conversations.ts';
import { maxTokens, prefix, thinking, tools } from '../session/options.ts';
import { PrefixDialog } from './prefix-dialog.tsx';

const NEW = '+';
const MOST_TOKENS = [256, 1_024, 4_096, 16_384];

/** Shows the options of the next question: model, prefix, and more. */
export function AskOptions() {
  const asks = useSignal(false);
  const current = session.value;
  const held = current?.report.value?.prefix?.split('@')[0];
  const choosePrefix = (value: string) => {
    if (value === NEW) asks.value = true;
    else prefix.value = value;
  };
  return (
    <div class="ask-options">
      <select aria-label="Model" value={model.value?.id} onChange={(event) => chooseModel(event.currentTarget.value)}>
        {models.value.map(({ id, display_name }) => (
          <option key={id} value={id}>
            {display_name}
          </option>
        ))}
      </select>
      <select
        aria-label="Prefix"
        // A conversation keeps the prefix that it began with.
        disabled={current !== undefined}
        title={current ? 'A conversation holds the prefix that it began with' : 'A stored beginning of the prompt'}
        value={current ? (held ?? '') : prefix.value}
        onChange={(event) => {
          choosePrefix(event.currentTarget.value);
          event.currentTarget.value = prefix.value;
        }}
      >
        <option value="">No prefix</option>
        {held !== undefined && !prefixes.value.some(({ name }) => name === held) && (
          <option value={held}>{held}</option>
        )}
        {prefixes.value.map(({ name }) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
        <option value={NEW}>New prefix…</option>
      </select>
      <select
        aria-label="Most tokens of an answer"
        title="max_tokens"
        value={maxTokens.value}
        onChange={(event) => {
          maxTokens.value = Number(event.currentTarget.value);
        }}
      >
        {MOST_TOKENS.map((most) => (
          <option key={most} value={most}>
            ≤ {most.toLocaleString('en')}
          </option>
        ))}
      </select>
      <CheckboxChip name="Thinking" value={thinking} />
      <CheckboxChip name="Tools" value={tools} title="A clock and dice that run in this page" />
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
