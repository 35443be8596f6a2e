import { createCompactionRejection } from './compaction-blocks.ts';
import { isObject, type JsonObject, objectItemsOf } from './json.ts';
import type { Prompt, RequestMessage } from './message-request.ts';
import { nameOf } from './tool-definitions.ts';

/** How many tools a summary can record. [?] The API's own limit is not documented. */
export const MAX_TOOL_REFERENCES = 512;

/** A change of the tools: what it does, and to which. */
interface Change {
  type: 'tool_addition' | 'tool_removal';
  tool: JsonObject;
}

/** @returns the changes of an earlier summary, or those that a `system` message makes */
function toolChangesOf({ role, blocks }: RequestMessage): Change[] {
  const changes = blocks.flatMap((block) =>
    block.type === 'compaction' ? objectItemsOf(block.tool_changes) : [block],
  );
  if (role !== 'system' && blocks[0]?.type !== 'compaction') return [];
  return changes.flatMap(({ type, tool }) =>
    (type === 'tool_addition' || type === 'tool_removal') && isObject(tool) ? [{ type, tool }] : [],
  );
}

/** @returns what a reference or definition is about: a tool, a tool of an MCP server, or all tools of one */
function toolKeyOf({ name, server_name: server, definition }: JsonObject): string {
  if (!isObject(definition)) return JSON.stringify([server ?? null, name ?? null]);
  return JSON.stringify([definition.mcp_server_name ?? null, nameOf(definition) || null]);
}

/** @returns a tool as a summary names it: a definition has no cache breakpoint */
function toToolReference(tool: JsonObject): JsonObject {
  if (!isObject(tool.definition)) return tool;
  const { cache_control: _, ...definition } = tool.definition;
  return { ...tool, definition };
}

/**
 * Finds what leads from a request's tools to those at the end of its messages: the last change of each tool. A change that
 * comes to nothing is left out.
 *
 * @throws ApiError 400 for more tools than a summary can record
 */
export function computeToolChanges({ tools, messages }: Pick<Prompt, 'tools' | 'messages'>): JsonObject[] {
  const last = new Map<string, Change>();
  const definitions = new Map<string, JsonObject>();
  for (const { type, tool } of messages.flatMap(toolChangesOf)) {
    const key = toolKeyOf(tool);
    if (isObject(tool.definition)) definitions.set(key, toToolReference(tool));
    last.delete(key);
    // A tool that was defined in a message is defined nowhere else once that message has gone.
    last.set(key, { type, tool: type === 'tool_addition' ? (definitions.get(key) ?? tool) : tool });
  }
  if (last.size > MAX_TOOL_REFERENCES) {
    throw createCompactionRejection(
      'too_many_tool_references',
      `messages: ${last.size} tools are added or removed, and a \`compaction\` block can record ${MAX_TOOL_REFERENCES}`,
    );
  }
  const declared = new Map(tools.map((definition) => [toolKeyOf({ definition }), definition]));
  return [...last].flatMap(([key, { type, tool }]) => {
    const own = declared.get(key);
    // The tools of an MCP server are not listed in a request, so a change of one always counts.
    const isUnknown = own === undefined && tool.server_name === undefined;
    const isOffered = own !== undefined && own.defer_loading !== true && !isObject(tool.definition);
    return (type === 'tool_removal' ? isUnknown : isOffered) ? [] : [{ type, tool }];
  });
}
