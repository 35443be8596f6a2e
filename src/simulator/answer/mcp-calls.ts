import { filterObjects, isJsonObject, type JsonObject, jsonToText, readOwnMember } from '../../api-rules/json.ts';
import type { MessageRequest, ValidatedPrompt } from '../request/message-request.ts';
import { getToolName, listLoadedToolNames } from '../request/tool-definitions.ts';
import type { PromptContents } from './prompt-contents.ts';
import { findMatchingTools, shouldSkipToolCalls } from './tool-calls.ts';

/** A tool of an MCP server. */
export interface McpTool {
  server: string;
  /** Its definition, with the `defer_loading` of its toolset. */
  tool: JsonObject;
}

/**
 * Chooses the tool of an MCP server that is called about what was said, as the caller's tools are chosen: it is named, or shares
 * most words. One that is deferred must have been loaded before, since the simulator searches for none.
 */
export function chooseMcpTool(request: MessageRequest, prompt: PromptContents): McpTool | undefined {
  if (request.toolChoice.type === 'tool' || shouldSkipToolCalls(request, prompt)) return undefined;
  const loaded = listLoadedToolNames(request);
  const ready = listMcpTools(request).filter(
    ({ tool }) => tool.defer_loading !== true || loaded.has(getToolName(tool)),
  );
  const [best] = findMatchingTools(
    ready.map(({ tool }) => tool),
    prompt.text,
  );
  return ready.find(({ tool }) => tool === best);
}

/**
 * Lists the tools of the MCP servers that a request offers: those that its toolset pins, that an earlier answer has listed, or
 * that the toolset names. The simulator calls no server. A server without known tools gets a tool that searches it.
 */
function listMcpTools({ tools, messages }: Pick<ValidatedPrompt, 'tools' | 'messages'>): McpTool[] {
  const listings = new Map(
    messages
      .flatMap(({ blocks }) => blocks)
      .filter(({ type }) => type === 'mcp_tool_listing')
      .map((block) => [jsonToText(block.mcp_server_name), filterObjects(block.tools)]),
  );
  return tools
    .filter(({ type }) => type === 'mcp_toolset')
    .flatMap(({ mcp_server_name, tools: pinned, configs, default_config }) => {
      const server = jsonToText(mcp_server_name);
      const own = isJsonObject(configs) ? configs : {};
      const named = Object.keys(own).map((name) => ({ name, input_schema: { type: 'object' } }));
      const tools = Array.isArray(pinned) ? filterObjects(pinned) : (listings.get(server) ?? named);
      return (tools.length > 0 ? tools : [createDefaultMcpTool(server)]).flatMap((tool) => {
        const config = readOwnMember(own, jsonToText(tool.name));
        const { enabled, defer_loading = false } = {
          ...(isJsonObject(default_config) ? default_config : {}),
          ...(isJsonObject(config) ? config : {}),
        };
        return enabled === false ? [] : [{ server, tool: { ...tool, defer_loading } }];
      });
    });
}

function createDefaultMcpTool(server: string): JsonObject {
  return {
    name: `search_${server}`,
    description: `Searches ${server}.`,
    input_schema: { type: 'object', properties: { query: { type: 'string' } }, required: ['query'] },
  };
}
