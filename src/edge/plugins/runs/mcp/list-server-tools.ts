/** Stores MCP servers: each is replaced by the tools that it has now. */

import { findToolSchemaFault, PARAMETER_NAME, type ToolSchemaFault } from '../../../../api-rules/tool-schema-fault.ts';
import type { Settings } from '../../../config/settings.ts';
import { ApiError, createInvalidRequestError, createNonRetryableError } from '../../../kit/http/errors.ts';
import { findLoneSurrogatePath } from '../../../kit/json/lone-surrogates.ts';
import {
  getMember,
  isObject,
  type JsonObject,
  removeUndefined,
  toJsonText,
  toStringOrUndefined,
} from '../../../kit/json/object.ts';
import type { StoreToolsHooks } from '../../../registry/tools/tool-kind.ts';
import { resolveToolHeaders } from '../tools/addresses.ts';
import { removeRejectedFields } from './entry-fields.ts';
import { toApiInputSchema } from './input-schema.ts';
import type { McpServerRun } from './mcp.schema.ts';
import { McpFault } from './mcp-fault.ts';
import { createByteLimiter, McpSession } from './session.ts';

/** Seconds that a server may take to list its tools. The caller that stores them waits for it. */
const LISTING_SECONDS = 30;
/** How many servers one list may name. All of them are called at the same time. */
const MOST_SERVERS = 10;
const LONGEST_NAME = 128;

/**
 * Lists the tools of the MCP servers in a list of tools.
 *
 * @param storing its `onAsking` is called before a server is called: if it throws, nothing is stored
 * @returns the list, in which the servers are replaced by their tools; unchanged if it names no server
 * @throws ApiError 400 for a server whose tools cannot be listed; 502 if they may be listed later
 */
export async function replaceServersByTheirTools(
  tools: unknown[],
  settings: Settings,
  storing: StoreToolsHooks,
): Promise<unknown[]> {
  const servers = tools.filter(isMcpServerEntry).length;
  if (servers === 0) return tools;
  if (servers > MOST_SERVERS)
    throw createInvalidRequestError(`tools: at most ${MOST_SERVERS} MCP servers are supported. Remove some.`);
  await storing.onServerRequest();
  const lists = tools.map((tool, index) =>
    isMcpServerEntry(tool) ? createToolsOfServer(tool, index, settings, storing) : [tool],
  );
  const listed = await Promise.all(lists);
  const names = new Set(tools.flatMap((tool) => (isObject(tool) && !isMcpServerEntry(tool) ? [tool.name] : [])));
  const entries = listed.map((list, index) => {
    const isListed = isMcpServerEntry(tools[index]);
    return {
      tools: isListed ? list.map((tool) => numberDuplicateToolName(tool, names)) : list,
      isServer: isListed,
    };
  });
  return removeRejectedFields(entries, (entry, sentence) => storing.warn(`tools.${entry}: ${sentence}`));
}

/** Numbers a name that another tool has: two names of a server may be the same in the characters that Claude accepts. */
function numberDuplicateToolName(tool: unknown, names: Set<unknown>): unknown {
  if (!isObject(tool)) return tool;
  const base = toJsonText(tool.name);
  let name = base;
  for (let number = 2; names.has(name); number += 1) {
    const end = `_${number}`;
    name = base.slice(0, LONGEST_NAME - end.length) + end;
  }
  names.add(name);
  return name === base ? tool : { ...tool, name };
}

/** An entry that names an MCP server. It was checked before. */
interface McpServerToolEntry extends JsonObject {
  name: string;
  run: McpServerRun;
}

function isMcpServerEntry(tool: unknown): tool is McpServerToolEntry {
  return isObject(tool) && isObject(tool.run) && Object.hasOwn(tool.run, 'mcp') && !Object.hasOwn(tool.run, 'tool');
}

async function createToolsOfServer(
  { name: server, run, ...entry }: McpServerToolEntry,
  index: number,
  settings: Settings,
  { warn, waitUntil }: StoreToolsHooks,
) {
  const { tools: wanted, ...call } = run;
  const path = `tools.${index}.run`;
  const listed = await connectAndListTools(run, path, settings, waitUntil);
  const unknown = wanted?.find((name) => !listed.some((tool) => tool.name === name));
  if (unknown !== undefined) {
    const names = listed.map(({ name }) => toJsonText(name)).join(', ');
    throw createInvalidRequestError(`${path}.tools: this server has no tool ${unknown}. Its tools are: ${names}.`);
  }
  // Sort the tools: a server may list them in another order each time, which must not create a new version of the agent.
  const chosen = (wanted ? listed.filter(({ name }) => wanted.includes(toJsonText(name))) : listed).toSorted(
    (one, other) => (toJsonText(one.name) < toJsonText(other.name) ? -1 : 1),
  );
  if (chosen.length === 0)
    throw createInvalidRequestError(`${path}.mcp: this server has no tools. Check its URL, or remove it.`);
  if (chosen.length > MOST_SERVER_TOOLS) {
    throw createInvalidRequestError(
      `${path}.mcp: this server has more than ${MOST_SERVER_TOOLS} tools. List the tools that you need in run.tools.`,
    );
  }
  const faults: string[] = [];
  const stored = chosen.flatMap((tool) => {
    const one = toStorableTool(tool);
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
    throw createInvalidRequestError(
      `${path}.mcp: this server has no tool that can be sent to Claude. ${faults.join(' ')} Correct the server's tools, or remove the server from the list.`,
    );
  }
  for (const fault of faults) warn(`${path}.mcp: ${fault}`);
  return stored;
}

async function connectAndListTools(
  run: McpServerRun,
  path: string,
  settings: Settings,
  waitUntil: StoreToolsHooks['waitUntil'],
): Promise<JsonObject[]> {
  const seconds = Math.min(run.timeout_seconds ?? LISTING_SECONDS, LISTING_SECONDS);
  const signal = AbortSignal.timeout(seconds * 1_000);
  const server = {
    url: run.mcp,
    headers: resolveToolHeaders(run, settings),
    fetch: (url: string, init: RequestInit) => fetch(url, init),
    waitUntil,
  };
  try {
    const session = await McpSession.open(server, signal);
    try {
      return await listAllToolPages(session, signal);
    } finally {
      session.close();
    }
  } catch (thrown) {
    const begin = `${path}.mcp: the tools of this server could not be listed.`;
    if (thrown instanceof McpFault && !thrown.mayPass)
      throw createNonRetryableError('invalid_request_error', `${begin} ${thrown.message}`);
    const why = signal.aborted
      ? `It did not respond within ${seconds} s.`
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
async function listAllToolPages(session: McpSession, signal: AbortSignal): Promise<JsonObject[]> {
  const take = createByteLimiter(MOST_LIST_BYTES);
  const listed: JsonObject[] = [];
  let cursor: unknown;
  for (let page = 0; page < MOST_TOOL_PAGES; page += 1) {
    const params = cursor === undefined ? {} : { cursor };
    const { tools, nextCursor } = await session.sendRequest('tools/list', params, { signal, take });
    if (!Array.isArray(tools)) throw new McpFault('Its list of tools is malformed.');
    listed.push(...tools.map((tool) => (isObject(tool) ? tool : {})));
    if (nextCursor === undefined || nextCursor === null) return listed;
    cursor = nextCursor;
  }
  throw new McpFault(`Its list of tools has more than ${MOST_TOOL_PAGES} pages.`);
}

/** A tool that can be stored. */
interface StorableTool {
  name: string;
  description: string | undefined;
  input_schema: JsonObject;
  /** Whether a call may be made a second time if a crash hides whether it was made. */
  isRepeatable: boolean;
}

/** Reads a tool as its server describes it. @returns a sentence in its place where it cannot be sent to Claude */
function toStorableTool(tool: JsonObject): StorableTool | string {
  const { name, title, description, inputSchema, annotations, execution } = tool;
  if (typeof name !== 'string' || name === '') return 'A tool is left out, because it has no name.';
  const explainOmittedTool = (why: string) => `The tool ${name.toWellFormed()} is left out, because ${why}.`;
  const sent = { name, description, title, inputSchema };
  if (findLoneSurrogatePath(sent) !== undefined)
    return explainOmittedTool('half a character (a lone surrogate) is in its description');
  if (getMember(execution, 'taskSupport') === 'required')
    return explainOmittedTool('it can only be called as a task, which Sluice does not support');
  const input_schema = toApiInputSchema(inputSchema);
  if (!input_schema)
    return explainOmittedTool(
      'Claude does not accept its input schema, which should describe an object with all of its properties',
    );
  const fault = findToolSchemaFault(input_schema);
  if (fault !== undefined) return explainOmittedTool(`Claude does not accept it: ${describeSchemaFault(fault)}`);
  const { readOnlyHint, idempotentHint } = isObject(annotations) ? annotations : {};
  return {
    name,
    description: toStringOrUndefined(description) ?? toStringOrUndefined(title),
    input_schema,
    isRepeatable: readOnlyHint === true || idempotentHint === true,
  };
}

function describeSchemaFault({ kind, at }: ToolSchemaFault): string {
  return kind === 'key'
    ? `its parameter ${JSON.stringify(at)} has a name that does not match ${PARAMETER_NAME.source}`
    : `${at} in the schema of its input is not valid in JSON Schema 2020-12`;
}
