/** Stores MCP servers: each is replaced by the tools that it has now. */

import type { Settings } from '../../../config/settings.ts';
import { ApiError, finalError, invalidRequest } from '../../../kit/http/errors.ts';
import { findLoneSurrogate } from '../../../kit/json/lone-surrogates.ts';
import { isObject, type Json, memberOf, removeUndefined, stringOrUndefined, toText } from '../../../kit/json/object.ts';
import type { StoreToolsContext } from '../../../registry/tools/tool-kind.ts';
import { resolveHeaders } from '../tools/addresses.ts';
import { findSchemaFault, toApiSchema } from './input-schema.ts';
import type { McpServerRun } from './mcp.schema.ts';
import { McpFault } from './mcp-fault.ts';
import { limitBytes, McpSession } from './session.ts';

/** Milliseconds that a server may take to list its tools. The caller who stores them waits for it. */
const LISTING_SECONDS = 30;
/** How many servers one list may name. All of them are asked at the same time. */
const MOST_SERVERS = 10;
const LONGEST_NAME = 128;

/**
 * Lists the tools of the MCP servers in a list of tools.
 *
 * @param storing its `onAsking` is called before a server is asked: if it throws, nothing is stored
 * @returns the list with these tools in place of the servers; unchanged if it names none
 * @throws ApiError 400 for a server whose tools cannot be listed; 502 for one whose tools may be listed later
 */
export async function listServerTools(
  tools: unknown[],
  settings: Settings,
  storing: StoreToolsContext,
): Promise<unknown[]> {
  const servers = tools.filter(isServer).length;
  if (servers === 0) return tools;
  if (servers > MOST_SERVERS) throw invalidRequest(`tools: at most ${MOST_SERVERS} MCP servers.`);
  await storing.onServerRequest();
  const lists = tools.map((tool, index) => (isServer(tool) ? toolsOf(tool, index, settings, storing) : [tool]));
  const listed = await Promise.all(lists);
  const names = new Set(tools.flatMap((tool) => (isObject(tool) && !isServer(tool) ? [tool.name] : [])));
  return listed.flatMap((list, index) => (isServer(tools[index]) ? list.map((tool) => numberName(tool, names)) : list));
}

/** Numbers a name that another tool has: two names of a server may be the same in the characters that Claude accepts. */
function numberName(tool: unknown, names: Set<unknown>): unknown {
  if (!isObject(tool)) return tool;
  const base = toText(tool.name);
  let name = base;
  for (let number = 2; names.has(name); number += 1) {
    const end = `_${number}`;
    name = base.slice(0, LONGEST_NAME - end.length) + end;
  }
  names.add(name);
  return name === base ? tool : { ...tool, name };
}

/** An entry that names an MCP server. It was checked before. */
interface ServerEntry extends Json {
  name: string;
  run: McpServerRun;
}

function isServer(tool: unknown): tool is ServerEntry {
  return isObject(tool) && isObject(tool.run) && Object.hasOwn(tool.run, 'mcp') && !Object.hasOwn(tool.run, 'tool');
}

async function toolsOf(
  { name: server, run, ...entry }: ServerEntry,
  index: number,
  settings: Settings,
  { warn, waitUntil }: StoreToolsContext,
) {
  const { tools: wanted, ...call } = run;
  const path = `tools.${index}.run`;
  const listed = await listToolsOf(run, path, settings, waitUntil);
  const unknown = wanted?.find((name) => !listed.some((tool) => tool.name === name));
  if (unknown !== undefined) {
    const names = listed.map(({ name }) => toText(name)).join(', ');
    throw invalidRequest(`${path}.tools: this server has no tool ${unknown}. It has: ${names}.`);
  }
  // Servers may list their tools in another order each time. That must not be another version of what is stored.
  const chosen = (wanted ? listed.filter(({ name }) => wanted.includes(toText(name))) : listed).toSorted(
    (one, other) => (toText(one.name) < toText(other.name) ? -1 : 1),
  );
  if (chosen.length === 0) throw invalidRequest(`${path}.mcp: this server has no tools.`);
  if (chosen.length > MOST_SERVER_TOOLS) {
    throw invalidRequest(
      `${path}.mcp: this server has more than ${MOST_SERVER_TOOLS} tools. Name those that you need in run.tools.`,
    );
  }
  const faults: string[] = [];
  const stored = chosen.flatMap((tool) => {
    const one = toStoredTool(tool);
    if (typeof one === 'string') {
      faults.push(one);
      return [];
    }
    const { name, description, input_schema, isRepeatable } = one;
    return {
      ...entry,
      name: `${server}_${name}`.replace(/[^a-zA-Z0-9_-]/g, '_').slice(0, LONGEST_NAME),
      ...removeUndefined({ description }),
      input_schema,
      run: { ...call, tool: name, once: run.once ?? !isRepeatable },
    };
  });
  if (stored.length === 0) {
    throw invalidRequest(`${path}.mcp: this server has no tool that can be sent to Claude. ${faults.join(' ')}`);
  }
  for (const fault of faults) warn(`${path}.mcp: ${fault}`);
  return stored;
}

async function listToolsOf(
  run: McpServerRun,
  path: string,
  settings: Settings,
  waitUntil: StoreToolsContext['waitUntil'],
): Promise<Json[]> {
  const seconds = Math.min(run.timeout_seconds ?? LISTING_SECONDS, LISTING_SECONDS);
  const signal = AbortSignal.timeout(seconds * 1_000);
  const server = {
    url: run.mcp,
    headers: resolveHeaders(run, settings),
    fetch: (url: string, init: RequestInit) => fetch(url, init),
    waitUntil,
  };
  try {
    const session = await McpSession.open(server, signal);
    try {
      return await listTools(session, signal);
    } finally {
      session.close();
    }
  } catch (thrown) {
    const begin = `${path}.mcp: the tools of this server could not be listed.`;
    if (thrown instanceof McpFault && !thrown.mayPass)
      throw finalError('invalid_request_error', `${begin} ${thrown.message}`);
    const why = signal.aborted
      ? `It did not answer within ${seconds} s.`
      : thrown instanceof McpFault
        ? thrown.message
        : 'It could not be reached.';
    throw new ApiError('api_error', `${begin} ${why} Try again later.`, { status: 502, cause: thrown });
  }
}

/** The most tools of one server that are stored. Each of them is in the prompt of every request. */
const MOST_SERVER_TOOLS = 200;
/** The most bytes of all pages together, as they come. */
const MOST_LIST_BYTES = 1_000_000;
const MOST_TOOL_PAGES = 100;

/**
 * Lists the tools of a server, page after page.
 *
 * @returns the tools as the server describes them
 * @throws McpFault if they cannot be listed
 */
async function listTools(session: McpSession, signal: AbortSignal): Promise<Json[]> {
  const take = limitBytes(MOST_LIST_BYTES);
  const listed: Json[] = [];
  let cursor: unknown;
  for (let page = 0; page < MOST_TOOL_PAGES; page += 1) {
    const params = cursor === undefined ? {} : { cursor };
    const { tools, nextCursor } = await session.request('tools/list', params, { signal, take });
    if (!Array.isArray(tools)) throw new McpFault('Its list of tools is none.');
    listed.push(...tools.map((tool) => (isObject(tool) ? tool : {})));
    if (nextCursor === undefined || nextCursor === null) return listed;
    cursor = nextCursor;
  }
  throw new McpFault(`Its list of tools has more than ${MOST_TOOL_PAGES} pages.`);
}

/** A tool that can be stored. */
interface DescribedTool {
  name: string;
  description: string | undefined;
  input_schema: Json;
  /** Whether a call may be made a second time if a crash hides whether it was made. */
  isRepeatable: boolean;
}

/** Reads a tool as its server describes it. @returns a sentence in its place where it cannot be sent to Claude */
function toStoredTool(tool: Json): DescribedTool | string {
  const { name, title, description, inputSchema, annotations, execution } = tool;
  if (typeof name !== 'string' || name === '') return 'A tool is left out, because it has no name.';
  const omit = (why: string) => `The tool ${name.toWellFormed()} is left out, because ${why}.`;
  const sent = { name, description, title, inputSchema };
  if (findLoneSurrogate(sent) !== undefined) return omit('half a character (a lone surrogate) is in its description');
  if (memberOf(execution, 'taskSupport') === 'required')
    return omit('it can only be called as a task, which Sluice does not support');
  const input_schema = toApiSchema(inputSchema);
  if (!input_schema)
    return omit(
      'Claude does not take the schema of its input: it should be one of an object, with all of its properties',
    );
  const fault = findSchemaFault(input_schema);
  if (fault !== undefined) return omit(`Claude does not accept it: ${fault}`);
  const { readOnlyHint, idempotentHint } = isObject(annotations) ? annotations : {};
  return {
    name,
    description: stringOrUndefined(description) ?? stringOrUndefined(title),
    input_schema,
    isRepeatable: readOnlyHint === true || idempotentHint === true,
  };
}
