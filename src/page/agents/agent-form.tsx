import { useSignal } from '@preact/signals';
import type { InputHTMLAttributes } from 'preact';
import { agents, shortVersion } from '../edge/agents.ts';
import { useAction } from '../edge/async-action.ts';
import { toolsOfEdge } from '../edge/client.ts';
import { fieldFault, wordsIn } from '../edge/field-fault.ts';
import { identity } from '../edge/identity.ts';
import { models } from '../edge/models.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { announce } from '../ui/announcer.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Fault } from '../ui/fault.tsx';
import { CheckboxChip, Field, Form, Select, SubmitButton } from '../ui/form.tsx';
import { go, NEW_AGENT } from '../ui/route.ts';
import {
  AGENT_FIELDS,
  type AgentDraft,
  type AgentField,
  agentDrafts,
  dropDraft,
  fieldsOf,
  keepDraft,
  moreOf,
} from './agent-draft.ts';
import { addableTools, exampleTools, listIn, withTool } from './example-tools.ts';
import { storeAgent } from './list.ts';
import { LIMIT_FIELDS } from './members.ts';
import { ToolsForm } from './tools-form.tsx';

interface AgentFormProps {
  /** The agent that is edited, or `NEW_AGENT`. */
  of: string;
  /** What is stored now, or stands in the form of a new one. */
  stored: AgentDraft;
}

/** Edits an agent. What is typed is kept, wherever one goes, until it is stored or discarded. */
export function AgentForm({ of, stored }: AgentFormProps) {
  const { busy, fault, run } = useAction();
  const asJson = useSignal(false);
  const isNew = of === NEW_AGENT;
  const draft = agentDrafts.value[of] ?? stored;
  const save = () =>
    run(async () => {
      const name = draft.name.trim();
      if (isNew) refuseTaken(name);
      const { version } = await storeAgent(name, fieldsOf(draft));
      dropDraft(of);
      announce(`Version ${shortVersion(version)} of ${name} is stored.`);
      go('agents', name, true);
    });
  const place = fault.value === undefined ? undefined : placeOf(fault.value, draft);
  const change = (field: AgentField, value: string) => {
    // What was wrong with it was said of what stood there before.
    if (place?.field === field) fault.value = undefined;
    keepDraft(of, { ...draft, [field]: value }, stored);
  };
  const faultOf = (field: AgentField) => (place?.field === field ? place.message : undefined);
  const input = (field: AgentField, label: string, props: InputHTMLAttributes = {}, note?: string) => (
    <Field key={field} label={label} note={note} fault={faultOf(field)}>
      {(ids) => (
        <input
          {...ids}
          {...props}
          autocomplete="off"
          value={draft[field]}
          onInput={(event) => change(field, event.currentTarget.value)}
        />
      )}
    </Field>
  );
  const area = (field: AgentField, label: string, rows: number, placeholder: string, note?: string) => (
    <Field label={label} note={note} fault={faultOf(field)}>
      {(ids) => (
        <textarea
          {...ids}
          class={field === 'system' ? undefined : 'json'}
          rows={rows}
          spellcheck={field === 'system'}
          placeholder={placeholder}
          value={draft[field]}
          onInput={(event) => change(field, event.currentTarget.value)}
        />
      )}
    </Field>
  );
  // What is wrong with tools stands at their JSON.
  const isJson = asJson.value || faultOf('tools') !== undefined || listIn(draft.tools) === undefined;
  const choices = models.value.map(({ id, display_name }) => [id, display_name] as const);
  return (
    <Form onSubmit={() => void save()}>
      <div class="fields">
        {isNew &&
          input(
            'name',
            'Name',
            { required: true, maxLength: 64, placeholder: 'support' },
            'Requests choose it by this name: letters, digits, - _ and . between them.',
          )}
        <Field label="Model" fault={faultOf('model')}>
          {(ids) => (
            <Select
              {...ids}
              value={draft.model}
              options={
                choices.some(([id]) => id === draft.model)
                  ? choices
                  : [draft.model === '' ? (['', 'chosen: see More'] as const) : draft.model, ...choices]
              }
              onChoose={(id) => change('model', id)}
            />
          )}
        </Field>
        {/* Any number is sent: the edge says which it takes. */}
        {input('max_tokens', 'Longest answer, in tokens', { type: 'number', min: 1, step: 'any', required: true })}
      </div>
      {input('description', 'Description', { maxLength: 1_000, placeholder: 'What it is for' })}
      {area('system', 'System prompt', 6, 'You answer for Acme…')}
      {isJson ? (
        area(
          'tools',
          'Tools, as JSON',
          8,
          exampleTools(of),
          !hasPlugin('runs')
            ? undefined
            : 'The edge itself calls a tool that has "run": a tool of its own ("worker"), another agent, or an address whose host is in the setting TOOL_HOSTS.',
        )
      ) : (
        <ToolsForm tools={draft.tools} onChange={(tools) => change('tools', tools)} />
      )}
      <p class="row">
        <CheckboxChip name="Tools as JSON" value={asJson} />
        {addableTools(draft.tools).map((name) => (
          <SmallButton
            key={name}
            name={`Add ${name}`}
            onClick={() => change('tools', withTool(draft.tools, { name, run: 'worker' }))}
          />
        ))}
        {draft.tools.trim() === '' && toolsOfEdge.value.length === 0 && (
          <SmallButton name="Fill in an example tool" onClick={() => change('tools', exampleTools(of))} />
        )}
      </p>
      {hasPlugin('runs') && (
        <fieldset class="stack">
          <legend>Limits of each run</legend>
          <div class="fields">
            {LIMIT_FIELDS.map(([field, label]) =>
              input(field, label, { type: 'number', min: 0, step: 'any', placeholder: 'usual' }),
            )}
            <Field label="Who approves calls" fault={faultOf('approvers')}>
              {(ids) => (
                <Select
                  {...ids}
                  value={draft.approvers}
                  options={[
                    ['owner', 'The conversation’s owner'],
                    ['admin', 'An admin'],
                  ]}
                  onChoose={(who) => change('approvers', who)}
                />
              )}
            </Field>
          </div>
        </fieldset>
      )}
      <details class="aside" open={draft.more !== '' || faultOf('more') !== undefined}>
        <summary>More fields, as JSON</summary>
        {area('more', 'More fields', 5, '{"history": {"max_tokens": 100000, "strategy": "summarize"}}')}
      </details>
      {place && !place.field && <Fault text={place.message} />}
      <p class="row">
        <SubmitButton name={isNew ? 'Store agent' : 'Store as a new version'} disabled={busy.value} />
        {agentDrafts.value[of] && <SmallButton name="Discard changes" onClick={() => dropDraft(of)} />}
        <span class="quiet">
          {isNew
            ? 'It can be asked at once.'
            : 'Older versions are kept. Conversations stay with the one they began with.'}
        </span>
      </p>
    </Form>
  );
}

/** @throws Error if an agent of that name is stored already, which must not be replaced by chance */
function refuseTaken(name: string): void {
  const owner = identity.peek().admin ? 'deployment' : 'account';
  if (!agents.peek()?.some((row) => row.name === name && row.owner === owner)) return;
  throw new Error('name: There is an agent of this name. Choose another name, or open that one to edit it.');
}

/** @returns the field that a refusal is about, and what is said of it */
function placeOf(fault: string, draft: AgentDraft): { field: AgentField | undefined; message: string } {
  const words = wordsIn(fault);
  if (words.startsWith('The name of the agent')) return { field: 'name', message: words };
  const { field, message } = fieldFault(fault, AGENT_FIELDS);
  if (field !== undefined) return { field: field as AgentField, message };
  // What cannot be read is told as `more`, and found above.
  const others = words.startsWith('more:') ? [] : Object.keys(Object(moreIn(draft)));
  return fieldFault(fault, others).field === undefined
    ? { field: undefined, message }
    : { field: 'more', message: words };
}

function moreIn(draft: AgentDraft): unknown {
  try {
    return moreOf(draft);
  } catch {
    // It was changed since, and is told when it is stored again.
    return {};
  }
}
