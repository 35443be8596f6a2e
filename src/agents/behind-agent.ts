/**
 * Puts a request behind an agent.
 *
 * The request is written anew from a few members of the caller's, and nothing else of it goes up: so a member that this
 * edge has never heard of cannot change who answers, at what price, or what may be called.
 */

import { RUN_MEMBERS, type RunLimits, runLimits } from '../conversations/runs/runs.schema.ts';
import { invalidRequest } from '../http/errors.ts';
import { validate } from '../http/validate.ts';
import { edit, itemTexts, memberTexts } from '../json/edit.ts';
import { type Json, parseObject } from '../json/object.ts';
import { IN_WORKER } from '../tools/worker-tools.ts';
import type { Agent } from './agent.ts';
import { type AgentFields, narrowedTools } from './agents.schema.ts';

/** The system and the tools that a conversation was created with, as JSON texts. A request without its own gets these. */
export interface InheritedParts {
  system: string | undefined;
  tools: string | undefined;
}

/** Members of a request that are the caller's to say. */
const OF_CALLER = ['messages', 'stream', 'metadata', 'cache_control', 'on_pending_tools'] as const;
/** Members of an agent that shape its answers. */
const SHAPING = [
  'thinking',
  'tool_choice',
  'output_config',
  'context_management',
  'stop_sequences',
  'temperature',
  'top_p',
  'top_k',
  'service_tier',
  'speed',
  'inference_geo',
] as const satisfies readonly (keyof AgentFields)[];
/** Those of them that the API takes where it only counts. */
const COUNTED: ReadonlySet<string> = new Set(['thinking', 'tool_choice', 'output_config', 'context_management']);
const BREAKPOINT = { cache_control: '{"type":"ephemeral"}' };

/**
 * Writes the request that goes up: the few members that are the caller's to say, then the agent's. What the caller adds to
 * `system` and `tools` stands behind the agent's own parts, whose bytes are the same in every request.
 *
 * @param members the caller's, as JSON texts
 * @param breakpoints how many cache breakpoints there is room for: one goes behind the agent's system, another behind its tools
 * @throws ApiError 400 for a tool that has the name of one of the agent's, for an unknown one in `agent_tools`, and for a
 * malformed limit
 */
export function behindAgent(
  members: ReadonlyMap<string, string>,
  { definition, text }: Agent,
  inherited: InheritedParts,
  { breakpoints, counts = false }: { breakpoints: number; counts?: boolean },
): string {
  const own = memberTexts(text);
  const parts: string[] = [];
  const put = (name: string, value: string | undefined) => {
    if (value !== undefined) parts.push(`${JSON.stringify(name)}:${value}`);
  };
  for (const name of OF_CALLER) put(name, members.get(name));
  put('model', own.get('model'));
  if (!counts) put('max_tokens', own.get('max_tokens'));
  for (const name of SHAPING) if (!counts || COUNTED.has(name)) put(name, own.get(name));
  const offered = offeredTools(members, definition.tools, itemTexts(own.get('tools') ?? '[]'));
  const tools = offered.map(({ text }) => text);
  const system = itemTexts(own.get('system') ?? '[]');
  const addedTools = addedItems('tools', members.get('tools') ?? inherited.tools);
  refuseSameNames(definition.tools, addedTools);
  const lastTool = offered.findLastIndex(({ tool }) => tool.defer_loading !== true);
  const marksTools = lastTool >= 0 && breakpoints >= (system.length > 0 ? 2 : 1);
  put('tools', list(marksTools ? markedAt(tools, lastTool) : tools, addedTools));
  put(
    'system',
    list(
      breakpoints > 0 ? markedAt(system, system.length - 1) : system,
      addedItems('system', members.get('system') ?? inherited.system),
    ),
  );
  if (counts) return `{${parts.join(',')}}`;
  for (const [name, value] of Object.entries(lowerLimits(members, definition.limits))) put(name, String(value));
  return `{${parts.join(',')}}`;
}

/** @returns the limits of a run: each is the lower one of the agent's and the request's */
function lowerLimits(members: ReadonlyMap<string, string>, ofAgent: RunLimits): Partial<RunLimits> {
  const lower: Partial<RunLimits> = { ...ofAgent };
  for (const name of RUN_MEMBERS) {
    const text = members.get(name);
    if (text === undefined) continue;
    const { [name]: asked } = validate(runLimits, { [name]: JSON.parse(text) });
    if (asked !== undefined) lower[name] = Math.min(asked, ofAgent[name] ?? asked);
  }
  return lower;
}

/** A tool of the agent, and its JSON text. */
interface OfferedTool {
  tool: Json;
  text: string;
}

/** @returns the agent's tools that the model is offered; some wait for an approval that only this request asks for */
function offeredTools(
  members: ReadonlyMap<string, string>,
  tools: readonly Json[],
  texts: readonly string[],
): OfferedTool[] {
  const all = tools.map((tool, index) => ({ tool, text: texts[index] ?? '' }));
  const asked = members.get('agent_tools');
  if (asked === undefined) return all;
  const { agent_tools: items = [] } = validate(narrowedTools, { agent_tools: JSON.parse(asked) });
  const known = tools.map(({ name }) => name);
  const kept = new Map<OfferedTool, string>();
  for (const [index, item] of items.entries()) {
    const { name, approval = undefined } = typeof item === 'string' ? { name: item } : item;
    const one = all[known.indexOf(name)];
    if (!one) {
      throw invalidRequest(
        `agent_tools.${index}: the agent has no tool of this name. It has: ${known.join(', ') || 'none'}.`,
      );
    }
    if (approval !== undefined && !Object.hasOwn(one.tool, 'run')) {
      throw invalidRequest(
        `agent_tools.${index}.approval: the edge does not call this tool itself. Leave the approval out.`,
      );
    }
    // Named twice, the stricter one holds.
    kept.set(one, approval === undefined ? (kept.get(one) ?? one.text) : withApproval(one));
  }
  return all.flatMap((one) => {
    const text = kept.get(one);
    return text === undefined ? [] : { tool: one.tool, text };
  });
}

function withApproval({ tool: { run }, text }: OfferedTool): string {
  const called = run === IN_WORKER ? { worker: true } : run;
  return edit(text, { run: JSON.stringify({ ...(called as Json), approval: 'always' }) });
}

/** @throws ApiError 400 where a tool that is added has the name of one of the agent's, narrowed away or not */
function refuseSameNames(tools: readonly Json[], added: readonly string[]): void {
  const names = new Set(tools.map(({ name }) => name));
  for (const [index, text] of added.entries()) {
    const { name } = parseObject(text) ?? {};
    if (name === undefined || !names.has(name)) continue;
    throw invalidRequest(`tools.${index}.name: the agent has a tool of this name. Give yours another name.`);
  }
}

/** @returns the items of a list as JSON texts; a text is one block */
function addedItems(name: 'system' | 'tools', text = '[]'): string[] {
  if (text.startsWith('[')) return itemTexts(text);
  if (name === 'system' && text.startsWith('"')) return text === '""' ? [] : [`{"type":"text","text":${text}}`];
  if (text === 'null') return [];
  throw invalidRequest(`${name}: Input should be a valid list`);
}

function markedAt(items: readonly string[], at: number): string[] {
  return items.map((text, index) => (index === at ? edit(text, BREAKPOINT) : text));
}

function list(...items: readonly (readonly string[])[]): string | undefined {
  const all = items.flat();
  return all.length === 0 ? undefined : `[${all.join(',')}]`;
}
