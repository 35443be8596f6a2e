import { useSignal } from '@preact/signals';
import type { InputHTMLAttributes } from 'preact';
import { agents, shortenVersionHash } from '../edge/agents.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { edgeToolNames } from '../edge/client.ts';
import { extractEdgeMessage, findFaultyField } from '../edge/field-fault.ts';
import { identity } from '../edge/identity.ts';
import { availableModels } from '../edge/models.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { announceToScreenReader } from '../ui/announcer.tsx';
import { SmallButton } from '../ui/button.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { CheckboxChip, Field, Form, Select, SubmitButton } from '../ui/form.tsx';
import { NEW_AGENT, navigateToSection } from '../ui/route.ts';
import {
  AGENT_FIELDS,
  type AgentDraft,
  type AgentDraftField,
  agentDrafts,
  discardAgentDraft,
  parseDraftToPutBody,
  parseMoreFieldsJson,
  saveAgentDraft,
} from './agent-draft.ts';
import { LIMIT_FIELDS } from './agent-fields.ts';
import { addToolToJsonList, createExampleToolsJson, listAddableEdgeTools, parseToolListJson } from './example-tools.ts';
import { storeAgent } from './stored-agents.ts';
import { EMPTY_INPUT_SCHEMA, ToolsForm } from './tools-form.tsx';

const EMPTY_TOOL = { name: '', description: '', input_schema: EMPTY_INPUT_SCHEMA };

interface AgentFormProps {
  /** The agent that is edited, or `NEW_AGENT`. */
  agentName: string;
  /** The stored agent, or the initial values of a new one. */
  stored: AgentDraft;
}

/** Edits an agent. The draft is kept on all other pages, until it is stored or discarded. */
export function AgentForm({ agentName: of, stored }: AgentFormProps) {
  const { isBusy: busy, fault, run } = useAsyncAction();
  const asJson = useSignal(false);
  const isNew = of === NEW_AGENT;
  const draft = agentDrafts.value[of] ?? stored;
  const storeDraft = () =>
    run(async () => {
      const name = draft.name.trim();
      if (isNew) requireUnusedAgentName(name);
      const { version } = await storeAgent(name, parseDraftToPutBody(draft));
      discardAgentDraft(of);
      announceToScreenReader(`Version ${shortenVersionHash(version)} of ${name} is stored.`);
      navigateToSection('agents', name, true);
    });
  const leaveForm = () => {
    discardAgentDraft(of);
    navigateToSection('agents', isNew ? undefined : of, true);
  };
  const place = fault.value === undefined ? undefined : findFieldOfFault(fault.value, draft);
  const changeField = (field: AgentDraftField, value: string) => {
    // The error described the value before this change, so remove it.
    if (place?.field === field) fault.value = undefined;
    saveAgentDraft(of, { ...draft, [field]: value }, stored);
  };
  const getFieldFault = (field: AgentDraftField) => (place?.field === field ? place.message : undefined);
  const renderInput = (field: AgentDraftField, label: string, props: InputHTMLAttributes = {}, note?: string) => (
    <Field key={field} label={label} note={note} fault={getFieldFault(field)}>
      {(ids) => (
        <input
          {...ids}
          {...props}
          autocomplete="off"
          value={draft[field]}
          onInput={(event) => changeField(field, event.currentTarget.value)}
        />
      )}
    </Field>
  );
  const renderTextArea = (field: AgentDraftField, label: string, rows: number, placeholder: string, note?: string) => (
    <Field label={label} note={note} fault={getFieldFault(field)}>
      {(ids) => (
        <textarea
          {...ids}
          class={field === 'system' ? undefined : 'json'}
          rows={rows}
          spellcheck={field === 'system'}
          placeholder={placeholder}
          value={draft[field]}
          onInput={(event) => changeField(field, event.currentTarget.value)}
        />
      )}
    </Field>
  );
  // Errors about tools refer to the JSON, so show the tools as JSON if there is such an error.
  const isJson = asJson.value || getFieldFault('tools') !== undefined || parseToolListJson(draft.tools) === undefined;
  const choices = availableModels.value.map(({ id, display_name }) => [id, display_name] as const);
  return (
    <Form onSubmit={() => void storeDraft()}>
      <div class="fields">
        {isNew &&
          renderInput(
            'name',
            'Name',
            { required: true, maxLength: 64, placeholder: 'support' },
            'Requests select the agent by this name. Use letters, digits, and - _ . between them.',
          )}
        <Field label="Model" fault={getFieldFault('model')}>
          {(ids) => (
            <Select
              {...ids}
              value={draft.model}
              options={
                choices.some(([id]) => id === draft.model)
                  ? choices
                  : [draft.model === '' ? (['', 'Chosen in “More fields”'] as const) : draft.model, ...choices]
              }
              onChoose={(id) => changeField('model', id)}
            />
          )}
        </Field>
        {/* Accept any number here: the edge rejects a wrong one and explains why. */}
        {renderInput('max_tokens', 'Maximum output tokens', {
          type: 'number',
          min: 1,
          step: 'any',
          required: true,
        })}
      </div>
      {renderInput('description', 'Description', { maxLength: 1_000, placeholder: 'Purpose' })}
      {renderTextArea('system', 'System prompt', 6, 'You answer customers of Acme…')}
      <section class="stack form-section" aria-labelledby="agent-tools">
        <div class="apart">
          <h2 id="agent-tools">Tools</h2>
          <CheckboxChip name="Tools as JSON" value={asJson} />
        </div>
        {isJson ? (
          renderTextArea(
            'tools',
            'Tools, as JSON',
            8,
            createExampleToolsJson(of),
            !hasPlugin('runs')
              ? undefined
              : 'Sluice calls tools with "run": the Worker’s own tools ("worker"), another agent, or a URL whose host is in the setting TOOL_HOSTS.',
          )
        ) : (
          <ToolsForm tools={draft.tools} onChange={(tools) => changeField('tools', tools)} />
        )}
        <p class="row">
          {!isJson && (
            <SmallButton
              name="Add a tool"
              onClick={() => changeField('tools', addToolToJsonList(draft.tools, EMPTY_TOOL))}
            />
          )}
          {listAddableEdgeTools(draft.tools).map((name) => (
            <SmallButton
              key={name}
              name={`Add ${name}`}
              onClick={() => changeField('tools', addToolToJsonList(draft.tools, { name, run: 'worker' }))}
            />
          ))}
          {draft.tools.trim() === '' && edgeToolNames.value.length === 0 && (
            <SmallButton name="Add an example tool" onClick={() => changeField('tools', createExampleToolsJson(of))} />
          )}
        </p>
      </section>
      {hasPlugin('runs') && (
        <section class="stack form-section" aria-labelledby="run-limits">
          <h2 id="run-limits">Limits of each run</h2>
          <div class="fields">
            {LIMIT_FIELDS.map(([field, label, usual]) =>
              renderInput(field, label, { type: 'number', min: 0, step: 'any', placeholder: usual }),
            )}
            <Field label="Approvers" fault={getFieldFault('approvers')}>
              {(ids) => (
                <Select
                  {...ids}
                  value={draft.approvers}
                  options={[
                    ['owner', 'The conversation’s owner'],
                    ['admin', 'An admin'],
                  ]}
                  onChoose={(who) => changeField('approvers', who)}
                />
              )}
            </Field>
          </div>
        </section>
      )}
      <details class="aside" open={draft.more !== '' || getFieldFault('more') !== undefined}>
        <summary>More fields, as JSON</summary>
        {renderTextArea('more', 'More fields', 6, createExampleMoreFieldsJson())}
      </details>
      {place && !place.field && <FaultMessage text={place.message} />}
      <p class="row">
        <SubmitButton name={isNew ? 'Store agent' : 'Store as a new version'} disabled={busy.value} />
        <button type="button" class="button plain" onClick={leaveForm}>
          {agentDrafts.value[of] ? 'Discard changes' : 'Cancel'}
        </button>
        <span class="quiet">
          {isNew
            ? 'You can use the agent immediately.'
            : 'Older versions remain stored. Conversations keep the version that they started with.'}
        </span>
      </p>
    </Form>
  );
}

/** @returns an example of other fields, with a strategy that the deployment supports */
function createExampleMoreFieldsJson(): string {
  const strategy = hasPlugin('summaries') ? 'summarize' : 'truncate';
  return `{"history": {"max_tokens": 100000, "strategy": "${strategy}"}}`;
}

/** @throws Error if an agent of that name is stored already, which must not be replaced by chance */
function requireUnusedAgentName(name: string): void {
  const owner = identity.peek().admin ? 'deployment' : 'account';
  if (!agents.peek()?.some((row) => row.name === name && row.owner === owner)) return;
  throw new Error('name: An agent with this name already exists. Choose another name, or edit the existing agent.');
}

/** @returns the field to which an error refers, and its message */
function findFieldOfFault(fault: string, draft: AgentDraft): { field: AgentDraftField | undefined; message: string } {
  const words = extractEdgeMessage(fault);
  if (words.startsWith('The name of the agent')) return { field: 'name', message: words };
  const { field, message } = findFaultyField(fault, AGENT_FIELDS);
  if (field !== undefined) return { field: field as AgentDraftField, message };
  // Invalid JSON in the remaining fields is reported for `more` itself. Then the fields cannot be searched for the one with the
  // error.
  const others = words.startsWith('more:') ? [] : Object.keys(Object(parseMoreFieldsOrEmpty(draft)));
  return findFaultyField(fault, others).field === undefined
    ? { field: undefined, message }
    : { field: 'more', message: words };
}

function parseMoreFieldsOrEmpty(draft: AgentDraft): unknown {
  try {
    return parseMoreFieldsJson(draft);
  } catch {
    // The text was changed after saving and is no valid JSON now. The next save reports that.
    return {};
  }
}
