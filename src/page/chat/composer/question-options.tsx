import { useSignal } from '@preact/signals';
import { prefixes, refreshPrefixList } from '../../edge/account.ts';
import { useAsyncAction } from '../../edge/async-action.ts';
import { edgeToolNames, getClient } from '../../edge/client.ts';
import { hasUnrestrictedScope } from '../../edge/identity.ts';
import { currentModel, describeModelFeatures } from '../../edge/models.ts';
import { SmallButton } from '../../ui/button.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { FaultMessage } from '../../ui/fault.tsx';
import { CheckboxChip, Field, Form, Select, SubmitButton } from '../../ui/form.tsx';
import { Popover } from '../../ui/popover.tsx';
import { session } from '../session/conversations.ts';
import {
  changedOptionCount,
  chosenAgent,
  chosenPrefix,
  hasEdgeTools,
  hasPageTools,
  maxTokens,
  thinkingChoice,
} from '../session/options.ts';
import { canDisableThinking, type ThinkingMode } from '../session/thinking.ts';
import { ModelPrices } from './model-prices.tsx';

const MAX_TOKENS_OPTIONS = [256, 1_024, 4_096, 16_384];

/** Shows the options of the next question behind one button: prefix, length, thinking, tools. */
export function QuestionOptions() {
  const asks = useSignal(false);
  const current = session.value;
  const retained = current?.report.value?.prefix?.split('@')[0];
  const stored = prefixes.value.map(({ name }) => name);
  const names = retained === undefined || stored.includes(retained) ? stored : [retained, ...stored];
  const hasAgent = current ? !!current.report.value?.agent : chosenAgent.value !== '';
  const skips = canDisableThinking(currentModel.value);
  const ownTools = 'An agent has its own tools.';
  // Disable the choice for an existing conversation, which keeps its initial prefix, and for an agent, which has its own prompt.
  const isPrefixFixed = current !== undefined || chosenAgent.value !== '';
  return (
    <>
      <Popover icon="options" name="Options" changed={changedOptionCount.value}>
        <Field
          label="Prefix"
          note={
            current
              ? 'A conversation keeps the prefix it started with.'
              : chosenAgent.value === ''
                ? 'A stored text that begins the prompt.'
                : 'An agent has its own prompt.'
          }
        >
          {(ids) => (
            <span class="inline with-button">
              <Select
                {...ids}
                disabled={isPrefixFixed}
                value={current ? (retained ?? '') : chosenAgent.value === '' ? chosenPrefix.value : ''}
                options={[['', 'None'], ...names]}
                onChoose={(name) => (chosenPrefix.value = name)}
              />
              {hasUnrestrictedScope('prefixes') && (
                <SmallButton name="New prefix…" disabled={isPrefixFixed} onClick={() => (asks.value = true)} />
              )}
            </span>
          )}
        </Field>
        <Field label="Maximum output">
          {(ids) => (
            <Select
              {...ids}
              value={maxTokens.value}
              options={MAX_TOKENS_OPTIONS.map((most) => [most, `${most.toLocaleString('en')} tokens`])}
              onChoose={(most) => (maxTokens.value = Number(most))}
            />
          )}
        </Field>
        <Field
          label="Thinking"
          note={skips ? 'Claude thinks before it responds. Thinking tokens are billed.' : 'This model always thinks.'}
        >
          {(ids) => (
            <Select
              {...ids}
              value={thinkingChoice.value === 'off' && !skips ? 'model' : thinkingChoice.value}
              options={[['model', 'Model default'], ['on', 'On'], ...(skips ? [['off', 'Off'] as const] : [])]}
              onChoose={(choice) => (thinkingChoice.value = choice as ThinkingMode)}
            />
          )}
        </Field>
        <CheckboxChip
          name="Page tools"
          value={hasPageTools}
          disabled={hasAgent}
          note={hasAgent ? ownTools : 'A clock and dice that run in this page'}
        />
        {edgeToolNames.value.length > 0 && (
          <CheckboxChip
            name="Worker tools"
            value={hasEdgeTools}
            disabled={hasAgent}
            note={hasAgent ? ownTools : `Run by the Worker: ${edgeToolNames.value.join(', ')}`}
          />
        )}
        {currentModel.value && chosenAgent.value === '' && (
          <>
            <p class="quiet">{describeModelFeatures(currentModel.value)}</p>
            <ModelPrices prices={currentModel.value.prices} />
          </>
        )}
      </Popover>
      {asks.value && (
        <PrefixDialog
          onClose={() => (asks.value = false)}
          onStored={(name) => {
            chosenPrefix.value = name;
            asks.value = false;
          }}
        />
      )}
    </>
  );
}

interface PrefixDialogProps {
  onClose(): void;
  /** @param name the name of the stored prefix */
  onStored(name: string): void;
}

function PrefixDialog({ onClose, onStored }: PrefixDialogProps) {
  const { isBusy: busy, fault, run } = useAsyncAction();
  const storePrefix = async (form: FormData) => {
    const name = String(form.get('name')).trim();
    await getClient().prefixes.put(name, {
      system: String(form.get('system')),
      cache_ttl: form.get('hour') ? '1h' : '5m',
      ...(currentModel.value ? { model: currentModel.value.id } : {}),
    });
    await refreshPrefixList();
    onStored(name);
  };
  return (
    <Dialog title="New prefix" onClose={onClose}>
      <Form onSubmit={(data) => void run(() => storePrefix(data))}>
        <p class="quiet">
          A prefix is the first part of a prompt that many requests share. It is stored once, added to each request, and
          read from Claude’s cache at a tenth of the price.
        </p>
        <Field label="Name">
          {(ids) => <input {...ids} name="name" required maxLength={64} autocomplete="off" placeholder="support" />}
        </Field>
        <Field label="System prompt">
          {(ids) => <textarea {...ids} name="system" required rows={8} placeholder="You answer customers of Acme…" />}
        </Field>
        <label class="chip">
          <input type="checkbox" name="hour" /> Cache it for an hour instead of five minutes
        </label>
        {fault.value && <FaultMessage text={fault.value} />}
        <SubmitButton name="Store prefix" disabled={busy.value} />
      </Form>
    </Dialog>
  );
}
