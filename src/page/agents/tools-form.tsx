import { agents } from '../edge/agents.ts';
import { edgeToolNames } from '../edge/client.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { SmallButton } from '../ui/button.tsx';
import { Field, Select } from '../ui/form.tsx';
import { parseToolList } from './example-tools.ts';

type ToolFields = Record<string, unknown>;
/** Who answers the calls of a tool. */
type ToolRunner = 'caller' | 'worker' | 'http' | 'agent' | 'api';

const TOOL_RUNNERS: readonly (readonly [ToolRunner, string])[] = [
  ['caller', 'The agent’s caller'],
  ['worker', 'A tool of this edge'],
  ['http', 'An address'],
  ['agent', 'Another agent'],
];
const EMPTY_INPUT_SCHEMA = { type: 'object', properties: {} };

interface ToolsFormProps {
  /** JSON of a list. */
  tools: string;
  onChange(tools: string): void;
}

/** Edits tools by their names, who answers them, and whether a person must approve their calls. What else they have stays. */
export function ToolsForm({ tools, onChange }: ToolsFormProps) {
  const list = (parseToolList(tools) ?? []).map((tool) => Object(tool) as ToolFields);
  const store = (next: readonly ToolFields[]) => onChange(next.length === 0 ? '' : JSON.stringify(next, null, 2));
  const change = (at: number, tool: ToolFields) => store(list.map((one, index) => (index === at ? tool : one)));
  return (
    <fieldset class="stack">
      <legend>Tools</legend>
      {list.map((tool, at) => (
        <ToolRow
          // biome-ignore lint/suspicious/noArrayIndexKey: a tool has its place, and its name while it is typed changes.
          key={at}
          tool={tool}
          onChange={(next) => change(at, next)}
          onRemove={() => store(list.filter((_, index) => index !== at))}
        />
      ))}
      <p class="row">
        <SmallButton
          name="Add a tool"
          onClick={() => store([...list, { name: '', description: '', input_schema: EMPTY_INPUT_SCHEMA }])}
        />
      </p>
    </fieldset>
  );
}

interface ToolRowProps {
  tool: ToolFields;
  onChange(tool: ToolFields): void;
  onRemove(): void;
}

function ToolRow({ tool, onChange, onRemove }: ToolRowProps) {
  const kind = toolRunnerOf(tool);
  const run = Object(tool.run) as ToolFields;
  const name = String(tool.name ?? '');
  const renderTextField = (label: string, value: unknown, set: (text: string) => void, list?: string) => (
    <Field label={label}>
      {(ids) => (
        <input
          {...ids}
          autocomplete="off"
          spellcheck={false}
          list={list}
          value={String(value ?? '')}
          onInput={(event) => set(event.currentTarget.value)}
        />
      )}
    </Field>
  );
  if (kind === 'api') {
    return (
      <div class="apart tool">
        <span>
          <code>{name || String(tool.type)}</code> <span class="quiet">of the API</span>
        </span>
        <SmallButton name="Remove" label={`Remove the tool ${name}`} onClick={onRemove} />
      </div>
    );
  }
  return (
    <div class="fields tool">
      {renderTextField(
        'Name of the tool',
        name,
        (next) => onChange({ ...tool, name: next }),
        kind === 'worker' ? 'tools-of-edge' : undefined,
      )}
      <Field label="Answered by">
        {(ids) => (
          <Select
            {...ids}
            value={kind}
            options={hasPlugin('runs') ? TOOL_RUNNERS : TOOL_RUNNERS.slice(0, 1)}
            onChoose={(next) => onChange(withRunner(tool, next as ToolRunner))}
          />
        )}
      </Field>
      {kind === 'http' &&
        renderTextField('Address (URL)', run.url, (url) => onChange({ ...tool, run: { ...run, url } }))}
      {kind === 'agent' &&
        renderTextField(
          'Agent',
          run.agent,
          (agent) => onChange({ ...tool, run: { ...run, agent } }),
          'agents-of-tools',
        )}
      {kind !== 'worker' &&
        renderTextField('What it does', tool.description, (description) => onChange({ ...tool, description }))}
      <span class="row">
        {kind !== 'caller' && (
          <label class="chip">
            <input
              type="checkbox"
              checked={run.approval !== undefined}
              onChange={(event) => onChange(withApproval(tool, event.currentTarget.checked))}
            />
            needs approval
          </label>
        )}
        <SmallButton name="Remove" label={`Remove the tool ${name}`} onClick={onRemove} />
      </span>
      <datalist id="tools-of-edge">
        {edgeToolNames.value.map((one) => (
          <option key={one} value={one} />
        ))}
      </datalist>
      <datalist id="agents-of-tools">
        {agents.value?.map((one) => (
          <option key={one.name} value={one.name} />
        ))}
      </datalist>
    </div>
  );
}

function toolRunnerOf({ type, run }: ToolFields): ToolRunner {
  if (run === undefined) return type === undefined || type === 'custom' ? 'caller' : 'api';
  const { url, agent } = Object(run) as ToolFields;
  return url !== undefined ? 'http' : agent !== undefined ? 'agent' : 'worker';
}

/** @returns a tool that somebody else answers; what a person must approve stays so */
function withRunner({ run, ...tool }: ToolFields, kind: ToolRunner): ToolFields {
  const { approval } = Object(run) as ToolFields;
  const approved = approval === undefined ? {} : { approval };
  const withInput = { ...tool, input_schema: tool.input_schema ?? EMPTY_INPUT_SCHEMA };
  switch (kind) {
    case 'http':
      return { ...withInput, run: { url: '', ...approved } };
    case 'agent':
      return { name: tool.name, description: tool.description ?? '', run: { agent: '', ...approved } };
    case 'worker':
      return { name: tool.name, run: approval === undefined ? 'worker' : { worker: true, ...approved } };
    default:
      return withInput;
  }
}

function withApproval(tool: ToolFields, isNeeded: boolean): ToolFields {
  const isWorker = toolRunnerOf(tool) === 'worker';
  const { approval: _, ...run } = (tool.run === 'worker' ? { worker: true } : Object(tool.run)) as ToolFields;
  if (isNeeded) return { ...tool, run: { ...run, approval: 'always' } };
  return { ...tool, run: isWorker && Object.keys(run).length === 1 ? 'worker' : run };
}
