/** Checks the tools with `run` in a request, before anything is stored or goes up. */

import { hasScope } from '../../auth/authenticate.ts';
import { finalError, invalidRequest } from '../../http/errors.ts';
import { validate } from '../../http/validate.ts';
import type { Identity } from '../../identity/caller.ts';
import { isObject, type Json } from '../../json/object.ts';
import type { Settings } from '../../settings/settings.ts';
import { IN_WORKER, workerTool, workerToolNames } from '../../tools/worker-tools.ts';
import { EDGE } from '../history/edge-blocks.ts';
import { faultOfTool } from './call-tool.ts';
import { runLimits, runTool } from './runs.schema.ts';

/** @returns whether a list of tools has one that the edge is to call itself. */
function hasRun(tools: unknown): boolean {
  return Array.isArray(tools) && tools.some((tool) => isObject(tool) && Object.hasOwn(tool, 'run'));
}

/**
 * Checks what a request to a conversation says of runs.
 *
 * @throws ApiError 400 for a malformed tool or limit, 403 for a caller who may bring no such tools
 */
export function checkRun(body: Readonly<Record<string, unknown>>, identity: Identity, settings: Settings): void {
  const { tools } = body;
  refuseEdgeServer(body);
  if (!hasRun(tools)) return;
  validate(runLimits, body);
  const names = new Set<unknown>();
  for (const [index, tool] of (tools as unknown[]).entries()) {
    if (!isObject(tool)) continue;
    if (names.has(tool.name)) throw invalidRequest(`tools.${index}.name: Tool names must be unique.`);
    names.add(tool.name);
    if (!Object.hasOwn(tool, 'run')) continue;
    const fault = tool.run === IN_WORKER ? faultOfName(tool.name) : faultOfRun(tool, identity, settings);
    if (fault !== undefined) throw invalidRequest(`tools.${index}.${fault}`);
  }
}

/** @throws ApiError 400 for an MCP server of the caller's that has the name by which the edge's tools are shown */
export function refuseEdgeServer({ mcp_servers: servers }: Readonly<Record<string, unknown>>): void {
  if (Array.isArray(servers) && servers.some((server) => isObject(server) && server.name === EDGE)) {
    throw invalidRequest('mcp_servers: the name "edge" is this edge’s own. Choose another one.');
  }
}

/** @throws ApiError 403 for a caller who may bring no such tools */
function faultOfRun(tool: Json, identity: Identity, settings: Settings): string | undefined {
  if (!hasScope(identity, 'tools')) {
    throw finalError('permission_error', 'This credential lacks the scope `tools`, which tools with `run` need.');
  }
  const { error, data } = runTool.safeParse(tool);
  const fault = data && faultOfTool(data.run, settings);
  if (fault !== undefined) return `${fault}.`;
  const [issue] = error?.issues ?? [];
  return issue && `${issue.path.join('.')}: ${issue.message}`;
}

function faultOfName(name: unknown): string | undefined {
  if (typeof name === 'string' && workerTool(name)) return undefined;
  const names = workerToolNames();
  const told = names.length > 0 ? `It has: ${names.join(', ')}.` : 'It has none: they are given to createApp.';
  return `name: this edge has no tool of its own of this name. ${told}`;
}

/** @throws ApiError 400 for a request whose tools the edge is to call, and that names no conversation */
export function refuseRun(body: Readonly<Record<string, unknown>>): void {
  refuseEdgeServer(body);
  if (!hasRun(body.tools)) return;
  throw invalidRequest(
    'tools: `run` needs a conversation, which keeps the steps. Send `conversation`, with an id of your own.',
  );
}
