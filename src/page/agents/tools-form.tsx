import { agents } from '../edge/agents.ts';
import { edgeToolNames } from '../edge/client.ts';
import { hasUnrestrictedScope } from '../edge/identity.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { SmallButton } from '../ui/button.tsx';
import { Field, Select } from '../ui/form.tsx';
import { parseToolListJson } from './example-tools.ts';

type EditedTool = Record<string, unknown>;
/** The runner of a tool's calls. */
type ToolRunnerKind = 'caller' | 'worker' | 'http' | 'agent' | 'api';

const TOOL_RUNNERS: readonly (readonly [ToolRunnerKind, string])[] = [
  ['caller', 'The client'],
  ['worker', 'The Worker'],
  ['http', 'A URL'],
  ['agent', 'Another agent'],
];
export const EMPTY_INPUT_SCHEMA = { type: 'object', properties: {} };

interface ToolsFormProps {
  /** JSON of a list. */
  tools: string;
  onChange(tools: string): void;
}

/** Edits tools by their names, who answers them, and whether a person must approve their calls. What else they have stays. */
export function ToolsForm({ tools, onChange }: ToolsFormProps) {
  const list = (parseToolListJson(tools) ?? []).map((tool) => Object(tool) as EditedTool);
  const setToolList = (next: readonly EditedTool[]) => onChange(next.length === 0 ? '' : JSON.stringify(next, null, 2));
  const changeTool = (at: number, tool: EditedTool) =>
    setToolList(list.map((one, index) => (index === at ? tool : one)));
  return (
    <>
      {list.map((tool, at) => (
        <ToolRow
          // biome-ignore lint/suspicious/noArrayIndexKey: a tool keeps its position, and its name changes while it is typed.
          key={at}
          tool={tool}
          onChange={(next) => changeTool(at, next)}
          onRemove={() => setToolList(list.filter((_, index) => index !== at))}
        />
      ))}
    </>
  );
}

interface ToolRowProps {
  tool: EditedTool;
  onChange(tool: EditedTool): void;
  onRemove(): void;
}

function ToolRow({ tool, onChange, onRemove }: ToolRowProps) {
  const kind = getToolRunnerKind(tool);
  const run = Object(tool.run) as EditedTool;
  const name = String(tool.name ?? '');
  const renderTextField = (label: string, value: unknown, set: (text: string) => void, list?: string) => (
    <Field label={label} isWide={label === 'URL' || label === 'Tool description'}>
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
  const removeButton = <SmallButton name="Remove" label={`Remove the tool ${name}`} onClick={onRemove} />;
  if (kind === 'api') {
    return (
      <div class="tool">
        <span>
          <code>{name || String(tool.type)}</code> <span class="quiet">of the API</span>
        </span>
        {removeButton}
      </div>
    );
  }
  return (
    <div class="tool">
      <div class="fields">
        {renderTextField(
          'Tool name',
          name,
          (next) => onChange({ ...tool, name: next }),
          kind === 'worker' ? 'tools-of-edge' : undefined,
        )}
        <Field label="Run by">
          {(ids) => (
            <Select
              {...ids}
              value={kind}
              options={listToolRunners(kind)}
              onChoose={(next) => onChange(setToolRunner(tool, next as ToolRunnerKind))}
            />
          )}
        </Field>
        {kind === 'http' && renderTextField('URL', run.url, (url) => onChange({ ...tool, run: { ...run, url } }))}
        {kind === 'agent' &&
          renderTextField(
            'Agent',
            run.agent,
            (agent) => onChange({ ...tool, run: { ...run, agent } }),
            'agents-of-tools',
          )}
        {kind !== 'worker' &&
          renderTextField('Tool description', tool.description, (description) => onChange({ ...tool, description }))}
        {kind !== 'caller' && (
          <label class="chip">
            <input
              type="checkbox"
              checked={run.approval !== undefined}
              onChange={(event) => onChange(setToolApproval(tool, event.currentTarget.checked))}
            />
            needs approval
          </label>
        )}
      </div>
      {removeButton}
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

/** @returns the runners to choose from. A tool keeps the runner that it has */
function listToolRunners(current: ToolRunnerKind) {
  const isAvailable = (kind: ToolRunnerKind) => {
    if (kind === 'caller' || kind === current) return true;
    // Storing a tool with an address needs the scope `tools`.
    return hasPlugin('runs') && (kind !== 'http' || hasUnrestrictedScope('tools'));
  };
  return TOOL_RUNNERS.filter(([kind]) => isAvailable(kind));
}

function getToolRunnerKind({ type, run }: EditedTool): ToolRunnerKind {
  if (run === undefined) return type === undefined || type === 'custom' ? 'caller' : 'api';
  const { url, agent } = Object(run) as EditedTool;
  return url !== undefined ? 'http' : agent !== undefined ? 'agent' : 'worker';
}

/** @returns a tool with another runner. A required approval stays required */
function setToolRunner({ run, ...tool }: EditedTool, kind: ToolRunnerKind): EditedTool {
  const { approval } = Object(run) as EditedTool;
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

function setToolApproval(tool: EditedTool, isNeeded: boolean): EditedTool {
  const isWorker = getToolRunnerKind(tool) === 'worker';
  const { approval: _, ...run } = (tool.run === 'worker' ? { worker: true } : Object(tool.run)) as EditedTool;
  if (isNeeded) return { ...tool, run: { ...run, approval: 'always' } };
  return { ...tool, run: isWorker && Object.keys(run).length === 1 ? 'worker' : run };
}
