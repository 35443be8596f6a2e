import { isObject, type Json, stringOrUndefined } from '../../kit/json/object.ts';
import { McpFault } from './mcp-fault.ts';
import { type McpSession, upTo } from './session.ts';

/** A tool as its server describes it. */
export interface ListedTool {
  name: string;
  description: string | undefined;
  input_schema: Json;
  /** Whether a call may be made a second time if a crash hides whether it was made. */
  isRepeatable: boolean;
}

/** The most tools of one server. Each of them is in the prompt of every request. */
const MOST_SERVER_TOOLS = 200;
/** The most bytes of all pages together, as they come. */
const MOST_LIST_BYTES = 1_000_000;
const MOST_TOOL_PAGES = 100;

/**
 * Lists the tools of a server, page after page.
 *
 * @throws McpFault if they cannot be listed, or are too many to be stored
 */
export async function listTools(session: McpSession, signal: AbortSignal): Promise<ListedTool[]> {
  const take = upTo(MOST_LIST_BYTES);
  const listed: ListedTool[] = [];
  let cursor: unknown;
  for (let page = 0; page < MOST_TOOL_PAGES; page += 1) {
    const params = cursor === undefined ? {} : { cursor };
    const { tools, nextCursor } = await session.request('tools/list', params, { signal, take });
    if (!Array.isArray(tools)) throw new McpFault('Its list of tools is none.');
    listed.push(...tools.map(toolIn));
    if (listed.length > MOST_SERVER_TOOLS) throw new McpFault(`It has more than ${MOST_SERVER_TOOLS} tools.`);
    if (nextCursor === undefined || nextCursor === null) return listed;
    cursor = nextCursor;
  }
  throw new McpFault(`Its list of tools has more than ${MOST_TOOL_PAGES} pages.`);
}

function toolIn(tool: unknown): ListedTool {
  const { name, title, description, inputSchema, annotations } = isObject(tool) ? tool : {};
  if (typeof name !== 'string' || name === '' || !isObject(inputSchema) || inputSchema.type !== 'object') {
    throw new McpFault('One of its tools has no name, or no schema of its input that is one of an object.');
  }
  const { readOnlyHint, idempotentHint } = isObject(annotations) ? annotations : {};
  return {
    name,
    description: stringOrUndefined(description) ?? stringOrUndefined(title),
    input_schema: inputSchema,
    isRepeatable: readOnlyHint === true || idempotentHint === true,
  };
}
