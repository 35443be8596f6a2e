/** Tools that the edge calls itself: those with a member `run`, which is never sent. */

import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { editJson, splitArrayItems } from '../../kit/json/edit.ts';
import { isObject, type JsonObject, parseJsonObject, toJsonText } from '../../kit/json/object.ts';
import { type EdgeToolKind, findToolKind, type ToolRunConfig, toolKinds } from './tool-kind.ts';

/**
 * Matches a member `run`, also one with escaped letters. Inside a string its quotes would be escaped. So most requests need
 * no parsing.
 */
const MAYBE_RUN_KEY = /"run"|\\u00(?:72|75|6e)/i;

/** @returns whether a list has a tool that the edge must call itself. */
export function hasEdgeTools(tools: unknown): boolean {
  return Array.isArray(tools) && tools.some((tool) => isObject(tool) && Object.hasOwn(tool, 'run'));
}

/**
 * Removes the addresses and headers of the tools that the edge calls. Both may be secrets of the account that sent them, and
 * other callers may read the conversation.
 *
 * @param tools the JSON text of a list
 * @returns the JSON text of the list without addresses and headers
 */
export function removeToolAddresses(tools: string): string {
  if (!tools.startsWith('[') || !MAYBE_RUN_KEY.test(tools)) return tools;
  const shown = splitArrayItems(tools).map((text) =>
    isObject(parseJsonObject(text)?.run) ? editJson(text, { run: undefined }) : text,
  );
  return `[${shown.join(',')}]`;
}

export interface ParsedEdgeTools {
  /** The list as it is sent; undefined if the request has no tools, so that all are from its prefix. */
  sent: string | undefined;
  /** The tools that the edge calls: how to call each one, by name. */
  runs: ReadonlyMap<string, ToolRunConfig>;
  /** The schemas of their inputs, by name; of the Worker's own tools only where the request has one. */
  schemas: ReadonlyMap<string, JsonObject>;
  /** Changes when the definitions of the Worker's own tools change; empty if there are none. */
  mark: string;
}

export const NO_EDGE_TOOLS: ParsedEdgeTools = { sent: undefined, runs: new Map(), schemas: new Map(), mark: '' };

/**
 * Finds the tools that the edge calls itself. They were checked before.
 *
 * @param tools the JSON text of a list of tools
 * @param ofPrefix the same for tools of a prefix. The prefix itself has them in the form that is sent
 * @returns undefined if there are none, as in most requests
 */
export function findEdgeTools(tools: string | undefined, ofPrefix?: string): ParsedEdgeTools | undefined {
  const stored = ofPrefix === undefined ? undefined : parseEdgeTools(ofPrefix);
  const own = tools?.startsWith('[') && MAYBE_RUN_KEY.test(tools) ? parseEdgeTools(tools) : undefined;
  if (!stored || !own) return own ?? (stored && { ...stored, sent: undefined });
  // If two tools have the same name, the stored one wins: a request must not remove the approval that the stored tool requires.
  const runs = new Map([...own.runs, ...stored.runs]);
  const schemas = new Map([...own.schemas, ...stored.schemas]);
  return { ...own, runs, schemas, mark: stored.mark + own.mark };
}

function parseEdgeTools(tools: string): ParsedEdgeTools | undefined {
  const runs = new Map<string, ToolRunConfig>();
  const schemas = new Map<string, JsonObject>();
  const named: [kind: EdgeToolKind | undefined, name: string][] = [];
  const sent = splitArrayItems(tools).flatMap((text) => {
    const tool = JSON.parse(text) as unknown;
    if (!isObject(tool) || !(isObject(tool.run) || tool.run === 'worker')) return text;
    const name = toJsonText(tool.name);
    const kind = findToolKind(tool.run);
    named.push([kind, name]);
    if (isObject(tool.input_schema)) schemas.set(name, tool.input_schema);
    runs.set(name, kind?.runOf?.(name, tool.run) ?? (tool.run as ToolRunConfig));
    const sent = editJson(text, { run: undefined });
    // If a deploy has removed the implementation of a tool, hide that tool from the model.
    return kind?.show ? (kind.show(name, sent) ?? []) : sent;
  });
  if (runs.size === 0) return undefined;
  const marks = toolKinds().map((kind) => {
    const own = named.filter(([one]) => one === kind).map(([, name]) => name);
    return (own.length > 0 && kind.mark?.(own)) || '';
  });
  return { sent: `[${sent.join(',')}]`, runs, schemas, mark: marks.join('') };
}

/** @returns a tool as the model gets it, without `run`; undefined if this Worker no longer has the tool */
export function createToolForModel(tool: JsonObject): JsonObject | undefined {
  const { run, ...shown } = tool;
  const kind = findToolKind(run);
  if (!kind?.show) return shown;
  const text = kind.show(toJsonText(tool.name), JSON.stringify(shown));
  return text === undefined ? undefined : (JSON.parse(text) as JsonObject);
}

/** The MCP server under whose name clients see the tools that the edge calls. */
export const EDGE_SERVER_NAME = 'edge';

/** @throws ApiError 400 if an MCP server of the caller's has the name under which the edge's tools are shown */
export function rejectReservedServerName({ mcp_servers: servers }: Readonly<Record<string, unknown>>): void {
  if (Array.isArray(servers) && servers.some((server) => isObject(server) && server.name === EDGE_SERVER_NAME)) {
    throw createInvalidRequestError('mcp_servers: the name "edge" is reserved. Choose another one.');
  }
}
