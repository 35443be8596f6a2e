/** Checks tools with `run`, before anything is stored or goes up. */

import { hasScope } from '../../../gate/auth/authenticate.ts';
import type { Identity } from '../../../gate/identity/caller.ts';
import type { Settings } from '../../../gate/settings/settings.ts';
import { faultOfSecret, type SecretSettings, valueOfSecret } from '../../../gate/settings/tool-secrets.ts';
import { finalError, invalidRequest } from '../../../kit/http/errors.ts';
import { deliverFault } from '../../../kit/http/headers/hosts.ts';
import { isObject, type Json } from '../../../kit/json/object.ts';
import { hasRun } from '../../../talk/contracts/edge-tools.ts';
import {
  agentTool,
  clientTool,
  type HttpRun,
  type McpRun,
  mcpServer,
  mcpTool,
  ownTool,
  runTool,
  workerToolEntry,
} from '../runs.schema.ts';
import { isAgentRun } from './agent-tools.ts';
import { IN_WORKER, isWorkerRun, workerTool, workerToolNames } from './worker-tools.ts';

/** The settings that decide how tools are called. */
export type ToolSettings = Pick<Settings, 'TOOL_HOSTS' | 'TOOL_SIGNING_SECRET'> & SecretSettings;

/**
 * Where a list of tools comes from. An MCP server is allowed only if the list is stored, because its tools are listed then.
 */
export type PlaceOfTools = 'request' | 'stored';

/**
 * Checks a list of tools if the edge must call some of them. A list without such tools is left to the upstream.
 *
 * @throws ApiError 400 for a malformed tool, 403 for a caller who may not send tools with an address
 */
export function checkTools(
  tools: unknown,
  identity: Identity,
  settings: Settings,
  place: PlaceOfTools = 'request',
): void {
  // What is stored is asked again and again: one that the API refuses each time is refused here, once.
  if (!Array.isArray(tools) || (place === 'request' && !hasRun(tools))) return;
  const names = new Set<unknown>();
  for (const [index, tool] of tools.entries()) {
    if (!isObject(tool)) continue;
    // A toolset of an MCP server has no name.
    if (tool.name !== undefined && names.has(tool.name)) {
      throw invalidRequest(`tools.${index}.name: Tool names must be unique.`);
    }
    names.add(tool.name);
    const hasOwnRun = Object.hasOwn(tool, 'run');
    if (!hasOwnRun && place === 'request') continue;
    const fault = hasOwnRun ? faultOfTool(tool, identity, settings, place) : faultOfClients(tool);
    if (fault !== undefined) throw invalidRequest(`tools.${index}.${fault}`);
  }
}

/** @throws ApiError 403 for a caller who may not send tools with an address */
function faultOfTool(tool: Json, identity: Identity, settings: Settings, place: PlaceOfTools): string | undefined {
  if (tool.run === IN_WORKER || isWorkerRun(tool.run)) return faultOfOwn(tool);
  // Using an agent needs no scope, so a tool that is an agent needs none either.
  if (isAgentRun(tool.run)) return faultIn(agentTool.safeParse(tool));
  return faultOfRun(tool, identity, settings, place);
}

/** @returns why the API would refuse a tool that the client runs, as far as it is known here */
function faultOfClients(tool: Json): string | undefined {
  const { name, type, input_schema: schema } = tool;
  if (type !== undefined && type !== null && type !== 'custom')
    return typeof type === 'string' && type !== '' ? undefined : 'type: Input should be a valid string';
  if (schema !== undefined) return faultIn(clientTool.safeParse(tool));
  const own = typeof name === 'string' && workerTool(name) ? ' Did you mean `"run": "worker"`?' : '';
  return `input_schema: Field required, where the tool has no \`run\`.${own}`;
}

function faultIn({ error }: { error?: { issues: readonly { path: PropertyKey[]; message: string }[] } | undefined }) {
  const [issue] = error?.issues ?? [];
  return issue && `${issue.path.join('.')}: ${issue.message}`;
}

/** @throws ApiError 403 for a caller who may not send such tools */
function faultOfRun(tool: Json, identity: Identity, settings: Settings, place: PlaceOfTools): string | undefined {
  if (!isObject(tool.run)) return 'run: must be "worker", {"agent": …}, {"url": …} or {"mcp": …}';
  const { run } = tool;
  if (!hasScope(identity, 'tools')) {
    throw finalError('permission_error', 'This credential lacks the scope `tools`, which tools with `run` need.');
  }
  // The schema ignores a header with this name, but the call would send it.
  if (isObject(run.headers) && Object.hasOwn(run.headers, '__proto__')) {
    return 'run.headers: must be names of headers, and __proto__ is none';
  }
  const isMcp = Object.hasOwn(run, 'mcp');
  if (isMcp && place === 'request') return MCP_IS_STORED;
  const schema = !isMcp ? runTool : Object.hasOwn(run, 'tool') ? mcpTool : mcpServer;
  const checked = schema.safeParse(tool);
  const fault = checked.data && faultOfAddress(checked.data.run, settings);
  return fault === undefined ? faultIn(checked) : `${fault}.`;
}

const MCP_IS_STORED =
  'run.mcp: the tools of an MCP server are listed when they are stored. Store it with PUT /prefixes/:name or PUT /agents/:name, and name that here.';

function faultOfOwn(tool: Json): string | undefined {
  const { name, run } = tool;
  const fault = faultIn((run === IN_WORKER ? ownTool : workerToolEntry).safeParse(tool));
  if (fault !== undefined) return fault;
  if (typeof name === 'string' && workerTool(name)) return undefined;
  const names = workerToolNames();
  const told = names.length > 0 ? `It has: ${names.join(', ')}.` : 'It has none: they are given to createApp.';
  return `name: this edge has no tool of its own of this name. ${told}`;
}

/**
 * Says why a tool cannot be called at its address. The text does not contain the address, because the model and clients may
 * read the text, and need not know the address.
 *
 * @returns the end of a sentence; undefined if it can be called
 */
export function faultOfAddress(
  run: Pick<HttpRun, 'url' | 'headers'> | Pick<McpRun, 'mcp' | 'headers'>,
  settings: ToolSettings,
): string | undefined {
  const { TOOL_HOSTS, TOOL_SIGNING_SECRET, development } = settings;
  const isMcp = 'mcp' in run;
  if (TOOL_SIGNING_SECRET === undefined && !isMcp)
    return 'run: this edge calls no addresses: its operator must set TOOL_SIGNING_SECRET and TOOL_HOSTS';
  const [member, url] = isMcp ? ['mcp', run.mcp] : ['url', run.url];
  const fault = deliverFault(url, development);
  if (fault !== undefined) return `run.${member}: ${fault}`;
  const { host = '' } = URL.parse(url) ?? {};
  if (!TOOL_HOSTS.includes(host)) return `run.${member}: ${NOT_ALLOWED}`;
  for (const [name, value] of Object.entries(run.headers ?? {})) {
    if (typeof value === 'string') continue;
    const fault = faultOfSecret(value.secret, host, settings);
    if (fault !== undefined) return `run.headers.${name}: ${fault}`;
  }
  return undefined;
}

const NOT_ALLOWED =
  'its host (with its port, if that is not 443) is not in TOOL_HOSTS of this edge; its operator can add it';

/** Builds the headers that a tool adds to its calls. The address must have been checked before. */
export function headersOf({ headers = {} }: Pick<HttpRun, 'headers'>, settings: ToolSettings): Headers {
  const sent = new Headers();
  for (const [name, value] of Object.entries(headers))
    sent.set(name, typeof value === 'string' ? value : valueOfSecret(value.secret, settings));
  return sent;
}
