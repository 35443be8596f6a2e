/** Checks tools with `run`, before anything is stored or goes up. */

import { hasScope } from '../auth/authenticate.ts';
import { agentTool, type HttpRun, runTool } from '../conversations/runs/runs.schema.ts';
import { finalError, invalidRequest } from '../http/errors.ts';
import { deliverFault } from '../http/hosts.ts';
import type { Identity } from '../identity/caller.ts';
import { isObject, type Json } from '../json/object.ts';
import type { Settings } from '../settings/settings.ts';
import { isAgentRun } from './agent-tools.ts';
import { IN_WORKER, workerTool, workerToolNames } from './worker-tools.ts';

/** The settings that tools are called by. */
export type ToolSettings = Pick<Settings, 'TOOL_HOSTS' | 'TOOL_SIGNING_SECRET' | 'toolSecrets' | 'development'>;

/** @returns whether a list of tools has one that the edge is to call itself. */
export function hasRun(tools: unknown): boolean {
  return Array.isArray(tools) && tools.some((tool) => isObject(tool) && Object.hasOwn(tool, 'run'));
}

/**
 * Checks a list of tools of which the edge is to call some. One that has none of these is the upstream's to judge.
 *
 * @throws ApiError 400 for a malformed tool, 403 for a caller who may bring none with an address
 */
export function checkTools(tools: unknown, identity: Identity, settings: Settings): void {
  if (!hasRun(tools)) return;
  const names = new Set<unknown>();
  for (const [index, tool] of (tools as unknown[]).entries()) {
    if (!isObject(tool)) continue;
    if (names.has(tool.name)) throw invalidRequest(`tools.${index}.name: Tool names must be unique.`);
    names.add(tool.name);
    if (!Object.hasOwn(tool, 'run')) continue;
    const fault = faultOfTool(tool, identity, settings);
    if (fault !== undefined) throw invalidRequest(`tools.${index}.${fault}`);
  }
}

/** @throws ApiError 403 for a caller who may bring no tools with an address */
function faultOfTool(tool: Json, identity: Identity, settings: Settings): string | undefined {
  if (tool.run === IN_WORKER) return faultOfName(tool.name);
  // Who uses an agent needs no scope, so this needs none either.
  if (isAgentRun(tool.run)) return faultIn(agentTool.safeParse(tool));
  return faultOfRun(tool, identity, settings);
}

function faultIn({ error }: { error?: { issues: readonly { path: PropertyKey[]; message: string }[] } | undefined }) {
  const [issue] = error?.issues ?? [];
  return issue && `${issue.path.join('.')}: ${issue.message}`;
}

/** @throws ApiError 403 for a caller who may bring no such tools */
function faultOfRun(tool: Json, identity: Identity, settings: Settings): string | undefined {
  if (!hasScope(identity, 'tools')) {
    throw finalError('permission_error', 'This credential lacks the scope `tools`, which tools with `run` need.');
  }
  // The schema takes no notice of a header of this name, and the call would send it.
  if (isObject(tool.run) && isObject(tool.run.headers) && Object.hasOwn(tool.run.headers, '__proto__')) {
    return 'run.headers: must be names of headers, and __proto__ is none';
  }
  const checked = runTool.safeParse(tool);
  const fault = checked.data && faultOfAddress(checked.data.run, settings);
  return fault === undefined ? faultIn(checked) : `${fault}.`;
}

function faultOfName(name: unknown): string | undefined {
  if (typeof name === 'string' && workerTool(name)) return undefined;
  const names = workerToolNames();
  const told = names.length > 0 ? `It has: ${names.join(', ')}.` : 'It has none: they are given to createApp.';
  return `name: this edge has no tool of its own of this name. ${told}`;
}

/**
 * Says why a tool cannot be called there. The words do not say where that is: at a call they go to the model and to clients,
 * who need not know it.
 *
 * @returns the end of a sentence; undefined where it can be called
 */
export function faultOfAddress(
  { url, headers = {} }: HttpRun,
  { TOOL_HOSTS, TOOL_SIGNING_SECRET, toolSecrets, development }: ToolSettings,
): string | undefined {
  if (TOOL_SIGNING_SECRET === undefined)
    return 'run: this edge calls no tools: its operator must set TOOL_SIGNING_SECRET and TOOL_HOSTS';
  const fault = deliverFault(url, development);
  if (fault !== undefined) return `run.url: ${fault}`;
  const { host = '' } = URL.parse(url) ?? {};
  if (!TOOL_HOSTS.includes(host)) return NOT_ALLOWED;
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === 'string') continue;
    const secret = Object.hasOwn(toolSecrets, value.secret) ? toolSecrets[value.secret] : undefined;
    if (secret?.host !== host) {
      return `run.headers.${name}: this edge has no TOOL_SECRET_${value.secret} for this host; its operator can set it, as host=value`;
    }
  }
  return undefined;
}

const NOT_ALLOWED =
  'run.url: its host (with its port, if that is not 443) is not in TOOL_HOSTS of this edge; its operator can add it';
