import { asText, isObject, type JsonObject, member, objectsIn } from '../request/json.ts';
import type { MessageRequest, Prompt } from '../request/message-request.ts';
import { loadedTools, nameOf } from '../request/tool-definitions.ts';
import { callsNone, matchingTools } from './tool-calls.ts';
import type { WhatWasSaid } from './what-was-said.ts';

/** A tool of an MCP server. */
export interface McpTool {
  server: string;
  /** Its definition, with `defer_loading` as its toolset says. */
  tool: JsonObject;
}

/**
 * Chooses the tool of an MCP server that is called about what was said, as the caller's tools are chosen: it is named, or shares
 * most words. One that is deferred must have been loaded before, since the simulator searches for none.
 */
export function mcpCall(request: MessageRequest, prompt: WhatWasSaid): McpTool | undefined {
  if (request.toolChoice.type === 'tool' || callsNone(request, prompt)) return undefined;
  const loaded = loadedTools(request);
  const ready = mcpTools(request).filter(({ tool }) => tool.defer_loading !== true || loaded.has(nameOf(tool)));
  const [best] = matchingTools(
    ready.map(({ tool }) => tool),
    prompt.text,
  );
  return ready.find(({ tool }) => tool === best);
}

/**
 * Lists the tools of the MCP servers that a request offers: those that its toolset pins, that an earlier answer has listed, or that
 * the toolset names. The simulator asks no server: one whose tools nobody says gets a tool that searches it.
 */
function mcpTools({ tools, messages }: Pick<Prompt, 'tools' | 'messages'>): McpTool[] {
  const listings = new Map(
    messages
      .flatMap(({ blocks }) => blocks)
      .filter(({ type }) => type === 'mcp_tool_listing')
      .map((block) => [asText(block.mcp_server_name), objectsIn(block.tools)]),
  );
  return tools
    .filter(({ type }) => type === 'mcp_toolset')
    .flatMap(({ mcp_server_name, tools: pinned, configs, default_config }) => {
      const server = asText(mcp_server_name);
      const own = isObject(configs) ? configs : {};
      const named = Object.keys(own).map((name) => ({ name, input_schema: { type: 'object' } }));
      const tools = Array.isArray(pinned) ? objectsIn(pinned) : (listings.get(server) ?? named);
      return (tools.length > 0 ? tools : [searchOf(server)]).flatMap((tool) => {
        const config = member(own, asText(tool.name));
        const { enabled, defer_loading = false } = {
          ...(isObject(default_config) ? default_config : {}),
          ...(isObject(config) ? config : {}),
        };
        return enabled === false ? [] : [{ server, tool: { ...tool, defer_loading } }];
      });
    });
}

function searchOf(server: string): JsonObject {
  return {
    name: `search_${server}`,
    description: `Searches ${server}.`,
    input_schema: { type: 'object', properties: { query: { type: 'string' } }, required: ['query'] },
  };
}
