import { useSignal } from '@preact/signals';
import { prefixes } from '../../edge/account.ts';
import { toolsOfEdge } from '../../edge/client.ts';
import { model, modelFacts } from '../../edge/models.ts';
import { CheckboxChip, Select } from '../../ui/form.tsx';
import { Popover } from '../../ui/popover.tsx';
import { session } from '../session/conversations.ts';
import { agent, changedOptions, edgeTools, maxTokens, prefix, thinking, tools } from '../session/options.ts';
import { PrefixDialog } from './prefix-dialog.tsx';

const NEW = '+';
const MOST_TOKENS = [256, 1_024, 4_096, 16_384];

/** Shows the options of the next question behind one button: prefix, length, thinking, tools. */
export function AskOptions() {
  const asks = useSignal(false);
  const current = session.value;
  const retained = current?.report.value?.prefix?.split('@')[0];
  const stored = prefixes.value.map(({ name }) => name);
  const names = retained === undefined || stored.includes(retained) ? stored : [retained, ...stored];
  const hasAgent = current ? !!current.report.value?.agent : agent.value !== '';
  const ownTools = 'An agent has its own tools.';
  const choosePrefix = (value: string) => {
    if (value === NEW) asks.value = true;
    else prefix.value = value;
  };
  return (
    <>
      <Popover icon="options" name="Options" changed={changedOptions.value}>
        <label class="labelled">
          Prefix
          <Select
            // A conversation keeps the prefix that it began with, and an agent has a prompt of its own.
            disabled={current !== undefined || agent.value !== ''}
            value={current ? (retained ?? '') : agent.value === '' ? prefix.value : ''}
            options={[['', 'None'], ...names, [NEW, 'New prefix…']]}
            onChoose={choosePrefix}
          />
          <span class="quiet">
            {current
              ? 'A conversation keeps the prefix it started with.'
              : agent.value === ''
                ? 'A stored start of the prompt.'
                : 'An agent has its own prompt.'}
          </span>
        </label>
        <label class="labelled">
          Longest answer
          <Select
            value={maxTokens.value}
            options={MOST_TOKENS.map((most) => [most, `${most.toLocaleString('en')} tokens`])}
            onChoose={(most) => (maxTokens.value = Number(most))}
          />
        </label>
        {model.value && agent.value === '' && <p class="quiet">{modelFacts(model.value)}</p>}
        <CheckboxChip name="Thinking" value={thinking} note="Claude thinks before it answers" />
        <CheckboxChip
          name="Tools"
          value={tools}
          disabled={hasAgent}
          note={hasAgent ? ownTools : 'A clock and dice that run in this page'}
        />
        {toolsOfEdge.value.length > 0 && (
          <CheckboxChip
            name="Edge tools"
            value={edgeTools}
            disabled={hasAgent}
            note={hasAgent ? ownTools : `Run by the edge: ${toolsOfEdge.value.join(', ')}`}
          />
        )}
      </Popover>
      {asks.value && (
        <PrefixDialog
          onClose={() => (asks.value = false)}
          onStored={(name) => {
            prefix.value = name;
            asks.value = false;
          }}
        />
      )}
    </>
  );
}
