/**
 * Has a request answered by an agent.
 *
 * The request is written again from a few members of the caller and those of the agent. Nothing else of it is sent. So an
 * unknown member cannot change the model, the price, or which tools may be called.
 */

import { adaptRequestForModel, describeChanges } from '../../claude/pricing/adapt-for-model.ts';
import { createFieldOpenToTest, listFieldNames, runLimitFields } from '../../claude/request/all-fields.ts';
import {
  type CallerLifetimes,
  chooseCacheLifetime,
  createCacheControl,
  listCallerLifetimes,
} from '../../claude/request/cache-breakpoints.ts';
import { parseRequestField } from '../../claude/request/field-definition.ts';
import type { ApplyAgentOptions } from '../../conversations/history/agent-in-use.ts';
import type { InheritedSystemAndTools } from '../../conversations/history/inherited-parts.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { editJson, parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { isObject, type JsonObject, parseJsonObject } from '../../kit/json/object.ts';
import { memoizeFromPlugins } from '../../kit/plugins/plugins.ts';
import type { AgentDefinition, AgentDefinitionWithText } from './agent-definition.ts';
import { type AgentFields, type AgentMcpServer, narrowedTools } from './agents.schema.ts';
import { resolveMcpServerTokens } from './called-servers.ts';

/** Members that the caller decides. */
const ofCaller = memoizeFromPlugins(() => [
  'messages',
  'stream',
  'metadata',
  'cache_control',
  ...listFieldNames(createFieldOpenToTest('agent')),
]);
/** Members of an agent that shape its answers. */
const SHAPING = [
  'thinking',
  'tool_choice',
  'output_config',
  'context_management',
  'container',
  'fallbacks',
  'stop_sequences',
  'temperature',
  'top_p',
  'top_k',
  'service_tier',
  'speed',
  'inference_geo',
] as const satisfies readonly (keyof AgentFields)[];
/** Those of them that the API accepts for a token count. */
const COUNTED: ReadonlySet<string> = new Set(['thinking', 'tool_choice', 'output_config', 'context_management']);

/**
 * Writes the request that is sent: the few members that the caller decides, then the agent's. The caller's additions to
 * `system` and `tools` come after the agent's own parts, whose bytes are the same in every request.
 *
 * @param members the caller's members as JSON texts
 * @param breakpoints one goes after the agent's system, another after its tools. Their lifetime is the agent's `cache_ttl`, unless a
 *   breakpoint of the caller requires another one
 * @throws ApiError 400 for a tool with the name of an agent's tool, for an unknown name in `agent_tools`, and for a malformed
 *   limit; 500 for an MCP server whose secret is missing
 */
export function buildRequestWithAgent(
  members: ReadonlyMap<string, string>,
  { definition, text }: AgentDefinitionWithText,
  inherited: InheritedSystemAndTools,
  { maxBreakpoints: breakpoints, counts = false, settings, model }: ApplyAgentOptions,
): string {
  const { model: named } = definition;
  // If the agent chooses among several models, adapt its parameters to what the chosen model supports.
  const chosen = typeof named === 'string' ? undefined : (model ?? named.otherwise);
  const changes = chosen !== undefined && {
    ...adaptRequestForModel(settings?.models.findRow(chosen), { ...definition }).changes,
    model: chosen,
  };
  const own = new Map([...parseMemberTexts(text), ...Object.entries(describeChanges(changes || {}))]);
  const parts: string[] = [];
  const setMember = (name: string, value: string | undefined) => {
    if (value !== undefined) parts.push(`${JSON.stringify(name)}:${value}`);
  };
  for (const name of ofCaller()) setMember(name, members.get(name));
  setMember('model', own.get('model'));
  if (!counts) setMember('max_tokens', own.get('max_tokens'));
  for (const name of SHAPING) if (!counts || COUNTED.has(name)) setMember(name, own.get(name));
  const { offered, servers } = selectOfferedTools(members, definition, splitArrayItems(own.get('tools') ?? '[]'));
  if (settings && servers.length > 0)
    setMember('mcp_servers', JSON.stringify(resolveMcpServerTokens(servers, settings)));
  const tools = offered.map(({ text }) => text);
  const system = splitListItems('system', own.get('system'));
  const addedTools = splitListItems('tools', members.get('tools') ?? inherited.tools);
  rejectDuplicateToolNames(definition, addedTools);
  const addedSystem = splitListItems('system', members.get('system') ?? inherited.system);
  const lifetimes = listLifetimesOfCaller(members, { tools: addedTools, system: addedSystem });
  const getBreakpoint = (part: 'tools' | 'system') =>
    createCacheControl(chooseCacheLifetime(part, definition.cache_ttl ?? '5m', lifetimes));
  const lastTool = offered.findLastIndex(({ tool }) => tool.defer_loading !== true);
  const marksTools = lastTool >= 0 && breakpoints >= (system.length > 0 ? 2 : 1);
  setMember(
    'tools',
    joinListItems(marksTools ? addCacheBreakpointAt(tools, lastTool, getBreakpoint('tools')) : tools, addedTools),
  );
  setMember(
    'system',
    joinListItems(
      breakpoints > 0 ? addCacheBreakpointAt(system, system.length - 1, getBreakpoint('system')) : system,
      addedSystem,
    ),
  );
  if (counts) return `{${parts.join(',')}}`;
  for (const [name, value] of Object.entries(combineRunLimits(members, definition.limits)))
    setMember(name, value?.toString());
  return `{${parts.join(',')}}`;
}

/** @returns the limits of a run, none where nothing runs. Each is the lower of the agent's and the request's */
function combineRunLimits(
  members: ReadonlyMap<string, string>,
  ofAgent: Readonly<Record<string, number | undefined>>,
): Record<string, number | undefined> {
  const lower: Record<string, number | undefined> = {};
  for (const [name, member] of runLimitFields()) {
    const text = members.get(name);
    const value =
      text === undefined ? undefined : parseRequestField(name, member, undefined, { [name]: JSON.parse(text) });
    lower[name] = typeof value === 'number' ? Math.min(value, ofAgent[name] ?? value) : ofAgent[name];
  }
  return lower;
}

/** A tool of the agent, and its JSON text. */
interface AgentToolWithText {
  tool: JsonObject;
  text: string;
}

/**
 * @returns the agent's tools and MCP servers that the model is offered. This request may demand approvals in addition to the
 *   agent's own
 */
function selectOfferedTools(
  members: ReadonlyMap<string, string>,
  { tools, mcp_servers: servers = [] }: AgentDefinition,
  texts: readonly string[],
): { offered: AgentToolWithText[]; servers: readonly AgentMcpServer[] } {
  const all = tools.map((tool, index) => ({ tool, text: texts[index] ?? '' }));
  const wanted = members.get('agent_tools');
  if (wanted === undefined) return { offered: all, servers };
  const items = validateBySchema(narrowedTools, JSON.parse(wanted), 'agent_tools') ?? [];
  const offered = listToolAndServerNames(tools, servers);
  const named = new Set<unknown>();
  const chosen = new Map<AgentToolWithText | undefined, string>();
  for (const [index, item] of items.entries()) {
    const { name, approval = undefined } = typeof item === 'string' ? { name: item } : item;
    const at = offered.indexOf(name);
    if (at < 0) {
      const names = [...new Set(offered)].join(', ') || 'none';
      throw createInvalidRequestError(
        `agent_tools.${index}: the agent has no tool of this name. Its tools are: ${names}.`,
      );
    }
    named.add(name);
    const one = all[at];
    if (approval !== undefined && !(one && Object.hasOwn(one.tool, 'run'))) {
      throw createInvalidRequestError(
        `agent_tools.${index}.approval: supported only for tools that Sluice calls. Remove it.`,
      );
    }
    // If two entries name the same tool, keep the stricter one, which requires an approval.
    if (one) chosen.set(one, approval === undefined ? (chosen.get(one) ?? one.text) : addApprovalToTool(one));
  }
  return {
    offered: all.flatMap((one) => {
      const text = chosen.get(one);
      return text === undefined ? [] : { tool: one.tool, text };
    }),
    servers: servers.filter(({ name }) => named.has(name)),
  };
}

/** @returns the names of an agent's tools, followed by those of its MCP servers; a toolset has its server's name */
function listToolAndServerNames(tools: readonly JsonObject[], servers: AgentFields['mcp_servers'] = []): unknown[] {
  return [...tools.map(({ name, mcp_server_name: server }) => name ?? server), ...servers.map(({ name }) => name)];
}

function addApprovalToTool({ tool: { run }, text }: AgentToolWithText): string {
  // `worker` is the only form of `run` that is a string, so write it as an object that can have the member `approval`.
  const called = isObject(run) ? run : { worker: true };
  return editJson(text, { run: JSON.stringify({ ...called, approval: 'always' }) });
}

/** @throws ApiError 400 if an added tool has the name of a tool of the agent, even one that is not offered now */
function rejectDuplicateToolNames({ tools, mcp_servers: servers }: AgentDefinition, added: readonly string[]): void {
  const names = new Set(listToolAndServerNames(tools, servers));
  for (const [index, text] of added.entries()) {
    const [name] = listToolAndServerNames([parseJsonObject(text) ?? {}]);
    if (name === undefined || !names.has(name)) continue;
    throw createInvalidRequestError(
      `tools.${index}.name: the agent already has a tool of this name. Use another name.`,
    );
  }
}

/** @returns the items of a list as JSON texts; a text is one block */
function splitListItems(name: 'system' | 'tools', text = '[]'): string[] {
  if (text.startsWith('[')) return splitArrayItems(text);
  if (name === 'system' && text.startsWith('"')) return text === '""' ? [] : [`{"type":"text","text":${text}}`];
  if (text === 'null') return [];
  throw createInvalidRequestError(`${name}: Input should be a valid list`);
}

/** @returns the lifetimes of the breakpoints of a caller, who has added these items to the agent's */
function listLifetimesOfCaller(
  members: ReadonlyMap<string, string>,
  added: Readonly<Record<'tools' | 'system', readonly string[]>>,
): CallerLifetimes {
  // Parse only texts that can have a breakpoint: messages may be long.
  const parseItems = (text: string): unknown[] => (text.includes('"cache_control"') ? JSON.parse(text) : []);
  return listCallerLifetimes(
    {
      tools: parseItems(`[${added.tools.join(',')}]`),
      system: parseItems(`[${added.system.join(',')}]`),
      messages: parseItems(members.get('messages') ?? '[]'),
    },
    JSON.parse(members.get('cache_control') ?? 'null'),
  );
}

function addCacheBreakpointAt(items: readonly string[], at: number, breakpoint: JsonObject): string[] {
  return items.map((text, index) =>
    index === at ? editJson(text, { cache_control: JSON.stringify(breakpoint) }) : text,
  );
}

function joinListItems(...items: readonly (readonly string[])[]): string | undefined {
  const all = items.flat();
  return all.length === 0 ? undefined : `[${all.join(',')}]`;
}
