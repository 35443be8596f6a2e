import { filterObjects, isJsonObject, type JsonObject } from '../../api-rules/json.ts';
import { createCompactionRejectedError } from './compaction-blocks.ts';
import type { RequestMessage, ValidatedPrompt } from './message-request.ts';
import { getToolName } from './tool-definitions.ts';

/** How many tools a summary can record. [?] The API's own limit is not documented. */
export const MAX_TOOL_REFERENCES = 512;

/** A change of the tools: what it does, and to which. */
interface ToolChange {
  type: 'tool_addition' | 'tool_removal';
  tool: JsonObject;
}

/** @returns the changes of an earlier summary, or those that a `system` message makes */
function listToolChanges({ role, blocks }: RequestMessage): ToolChange[] {
  const changes = blocks.flatMap((block) =>
    block.type === 'compaction' ? filterObjects(block.tool_changes) : [block],
  );
  if (role !== 'system' && blocks[0]?.type !== 'compaction') return [];
  return changes.flatMap(({ type, tool }) =>
    (type === 'tool_addition' || type === 'tool_removal') && isJsonObject(tool) ? [{ type, tool }] : [],
  );
}

/** @returns what a reference or definition is about: a tool, a tool of an MCP server, or all tools of one */
function createToolKey({ name, server_name: server, definition }: JsonObject): string {
  if (!isJsonObject(definition)) return JSON.stringify([server ?? null, name ?? null]);
  return JSON.stringify([definition.mcp_server_name ?? null, getToolName(definition) || null]);
}

/** @returns a tool as a summary names it: a definition has no cache breakpoint */
function createToolReference(tool: JsonObject): JsonObject {
  if (!isJsonObject(tool.definition)) return tool;
  const { cache_control: _, ...definition } = tool.definition;
  return { ...tool, definition };
}

/**
 * Computes the changes between the tools of a request and those at the end of its messages: the last change of each tool.
 * Changes without effect are left out.
 *
 * @throws ApiError 400 for more tools than a summary can record
 */
export function computeNetToolChanges({ tools, messages }: Pick<ValidatedPrompt, 'tools' | 'messages'>): JsonObject[] {
  const last = new Map<string, ToolChange>();
  const definitions = new Map<string, JsonObject>();
  for (const { type, tool } of messages.flatMap(listToolChanges)) {
    const key = createToolKey(tool);
    if (isJsonObject(tool.definition)) definitions.set(key, createToolReference(tool));
    last.delete(key);
    // Keep the definition of a tool that a message adds: compaction removes the message, and with it the only definition.
    last.set(key, { type, tool: type === 'tool_addition' ? (definitions.get(key) ?? tool) : tool });
  }
  if (last.size > MAX_TOOL_REFERENCES) {
    throw createCompactionRejectedError(
      'too_many_tool_references',
      `messages: ${last.size} tools are added or removed, and a \`compaction\` block can record ${MAX_TOOL_REFERENCES}`,
    );
  }
  const declared = new Map(tools.map((definition) => [createToolKey({ definition }), definition]));
  return [...last].flatMap(([key, { type, tool }]) => {
    const own = declared.get(key);
    // Keep every change of an MCP server's tool, because the request does not list the tools of the server.
    const isUnknown = own === undefined && tool.server_name === undefined;
    const isOffered = own !== undefined && own.defer_loading !== true && !isJsonObject(tool.definition);
    return (type === 'tool_removal' ? isUnknown : isOffered) ? [] : [{ type, tool }];
  });
}
