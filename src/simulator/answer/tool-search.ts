import { asText, isObject, type JsonObject, member, objectsIn } from '../request/json.ts';
import type { MessageRequest, Prompt } from '../request/message-request.ts';
import { isClientTool, loadedTools, nameOf } from '../request/tool-definitions.ts';
import { matchingTools, sharedWord } from './tool-calls.ts';
import type { WhatWasSaid } from './what-was-said.ts';

/** As many tools as a search finds. */
const MOST_FOUND = 5;

/** What the API does by itself: it searches for tools, and calls a tool of an MCP server. */
export interface ServedCalls {
  /** The search, and the names of what it finds. */
  search: { name: string; input: JsonObject; found: string[] } | undefined;
  /** The tool that is called then. Without a server it is the caller's own. */
  call: { tool: JsonObject; server: string | undefined } | undefined;
}

interface McpTool {
  server: string;
  /** Its definition, with `defer_loading` as its toolset says. */
  tool: JsonObject;
}

/**
 * Decides what the API does by itself about what was said. A tool of an MCP server is called as the caller's tools are: if it is
 * named, or shares most words. One that is deferred must be found first, by the request's tool search.
 *
 * @returns undefined if it does nothing
 */
export function servedCalls(request: MessageRequest, said: WhatWasSaid): ServedCalls | undefined {
  const { tools, toolChoice } = request;
  const search = tools.find(({ type }) => asText(type).startsWith('tool_search_tool'));
  const isForced = toolChoice.type === 'tool' && search !== undefined && toolChoice.name === nameOf(search);
  if (toolChoice.type === 'none' || (toolChoice.type === 'tool' && !isForced) || said.isAnswered) return undefined;
  const loaded = loadedTools(request);
  const served = mcpTools(request);
  const isDeferred = (tool: JsonObject) => tool.defer_loading === true && !loaded.has(nameOf(tool));
  const callOf = (tool: JsonObject) => ({ tool, server: served.find((one) => one.tool === tool)?.server });
  const ready = served.map(({ tool }) => tool).filter((tool) => !isDeferred(tool));
  const [own] = isForced ? [] : matchingTools(ready, said.text);
  if (own) return { search: undefined, call: callOf(own) };
  if (!search) return undefined;
  const hidden = [...tools.filter(isClientTool), ...served.map(({ tool }) => tool)].filter(isDeferred);
  const [best] = matchingTools(hidden, said.text);
  if (!best && !isForced) return undefined;
  const others = hidden.filter((tool) => tool !== best && sharedWord(tool, said.text) !== undefined);
  const found = (best ? [best, ...others] : []).slice(0, MOST_FOUND).map(nameOf);
  const words = (best && sharedWord(best, said.text)) ?? said.text.slice(0, 60);
  const isPattern = asText(search.type).includes('regex');
  const input: JsonObject = isPattern ? { pattern: `(?i)${words}` } : { query: words };
  return { search: { name: nameOf(search), input, found }, call: best && callOf(best) };
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
      const known = Array.isArray(pinned) ? objectsIn(pinned) : (listings.get(server) ?? named);
      return (known.length > 0 ? known : [searchOf(server)]).flatMap((tool) => {
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
