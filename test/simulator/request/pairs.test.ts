/** Parts of a request that Claude rejects only beside others. Each row names where the rule was seen or is documented. */

import { describe, expect, test } from 'vitest';
import { asking, model, post, refusal, simulated } from '../api.ts';
import { pdfOf, pngOf } from '../pictures.ts';

const simulator = simulated();
const betas = { 'anthropic-beta': 'mcp-client-2025-11-20' };

/** @returns why the simulator rejects a body; undefined if it accepts it */
async function findRejection(body: unknown, headers: Record<string, string> = betas): Promise<string | undefined> {
  const response = await simulator(post(body, headers));
  if (response.ok) return void (await response.body?.cancel());
  const { status, message } = await refusal(response);
  expect(status).toBe(400);
  return message;
}

const schema = (properties: Record<string, unknown>) => ({ type: 'object', properties });
const tool = { name: 'weather', input_schema: schema({ city: { type: 'string' } }) };
const withTools = (...tools: unknown[]) => asking('x', { tools });
const withProperty = (property: unknown) => withTools({ ...tool, input_schema: schema({ a: property }) });
const deferred = { ...tool, defer_loading: true };
const search = { type: 'tool_search_tool_bm25_20251119', name: 'tool_search_tool_bm25' };
const cached = { cache_control: { type: 'ephemeral' } };
const wiki = { type: 'url', name: 'wiki', url: 'https://wiki.test' };
const toolset = { type: 'mcp_toolset', mcp_server_name: 'wiki' };
const code = { type: 'code_execution_20250825', name: 'code_execution' };
const skills = { skills: [{ type: 'anthropic', skill_id: 'pdf' }] };
const fetching = (name: string) => ({
  type: 'web_fetch_20260318',
  name: 'web_fetch',
  url_sources: { client_tool_results: { type: 'only', tools: [{ type: 'tool_reference', name }] } },
});
const searching = (max_uses: number) => ({ type: 'web_search_20260318', name: 'web_search', max_uses });
const result = { type: 'tool_result', tool_use_id: 'toolu_1', content: 'sun' };
const text = { type: 'text', text: 'Go on.' };
const saying = (...content: unknown[]) => ({ model, max_tokens: 4096, messages: [{ role: 'user', content }] });
const answering = (...content: unknown[]) => ({
  ...withTools(tool),
  messages: [
    { role: 'user', content: 'x' },
    { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'weather', input: {} }] },
    { role: 'user', content },
  ],
});
const referring = (tool_name: string) => answering({ ...result, content: [{ type: 'tool_reference', tool_name }] });
const found = (enabled: boolean, content: unknown[] = [text]) => ({
  type: 'search_result',
  source: 'https://a.test',
  title: 'A',
  content,
  citations: { enabled },
});
const picture = (side: number) => ({
  type: 'image',
  source: { type: 'base64', media_type: 'image/png', data: pngOf(side, 2) },
});
const pictures = (count: number, side = 2) => Array.from({ length: count }, () => picture(side));
const document = (pages: number) => ({
  type: 'document',
  source: { type: 'base64', media_type: 'application/pdf', data: pdfOf(pages) },
});
const DIALECT = 'It must match JSON Schema draft 2020-12';

interface Pair {
  source: string;
  rejected: unknown;
  words: string;
  accepted: unknown;
}

const PAIRS: Readonly<Record<string, Pair>> = {
  'text before a tool result': {
    source: 'reports qwen-code 8161, hermes-agent 65369',
    rejected: answering(text, result),
    words: 'messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1.',
    accepted: answering(result, text),
  },
  'only deferred tools': {
    source: 'report ironclaw 7274',
    rejected: withTools(deferred),
    words: 'At least one tool must have defer_loading=false',
    accepted: withTools(deferred, search),
  },
  'a deferred tool with a cache breakpoint': {
    source: 'report claude-code 86743',
    rejected: withTools({ ...deferred, ...cached }, search),
    words: 'cannot have both defer_loading=true and cache_control set',
    accepted: withTools({ ...tool, ...cached }, search),
  },
  'an MCP server that no toolset names': {
    source: 'report anthropic-sdk-csharp 255',
    rejected: asking('x', { mcp_servers: [wiki] }),
    words: "MCP server 'wiki' is defined but not referenced by any `mcp_toolset` in `tools`",
    accepted: asking('x', { mcp_servers: [wiki], tools: [toolset] }),
  },
  'a toolset without its server': {
    source: 'platform.claude.com/docs/en/agents-and-tools/mcp-connector',
    rejected: asking('x', { mcp_servers: [wiki], tools: [toolset, { ...toolset, mcp_server_name: 'docs' }] }),
    words: "the `mcp_toolset` of 'docs' has no server",
    accepted: asking('x', { mcp_servers: [wiki], tools: [toolset] }),
  },
  'an MCP server without TLS': {
    source: 'platform.claude.com/docs/en/agents-and-tools/mcp-connector',
    rejected: asking('x', { mcp_servers: [{ ...wiki, url: 'http://wiki.test' }], tools: [toolset] }),
    words: 'mcp_servers.0.url.url: must start with https://',
    accepted: asking('x', { mcp_servers: [wiki], tools: [toolset] }),
  },
  'a reference to a tool that is not there': {
    source: 'platform.claude.com/docs/en/agents-and-tools/tool-use/tool-search-tool',
    rejected: referring('wether'),
    words: "Tool reference 'wether' has no corresponding tool definition",
    accepted: referring('weather'),
  },
  'a source of URLs that is not there': {
    source: 'docstring of WebFetchURLSourceOnly, @anthropic-ai/sdk 1.14.0',
    rejected: withTools(fetching('wether'), tool),
    words: "tools.0.web_fetch_20260318.url_sources: there is no tool 'wether'",
    accepted: withTools(fetching('weather'), tool),
  },
  'no uses of a server tool': {
    source: 'platform.claude.com/docs/en/api/messages/create (exclusiveMinimum: 0)',
    rejected: withTools(searching(0)),
    words: 'tools.0.web_search_20260318.max_uses: Input should be greater than 0',
    accepted: withTools(searching(1)),
  },
  'skills without code execution': {
    source: 'error reported in public code of 2026',
    rejected: asking('x', { container: skills }),
    words: 'container: skills can only be used when a code execution tool is enabled',
    accepted: asking('x', { container: skills, tools: [code] }),
  },
  'a search result without content': {
    source: 'platform.claude.com/docs/en/build-with-claude/search-results',
    rejected: saying(found(true, [])),
    words: 'messages.0.content.0.search_result.content: List should have at least 1 item',
    accepted: saying(found(true)),
  },
  'search results of which only some may be cited': {
    source: 'platform.claude.com/docs/en/build-with-claude/search-results',
    rejected: saying(found(true), found(false)),
    words: 'messages: citations must be enabled on all or none of the search results',
    accepted: saying(found(true), found(true)),
  },
  'more than 600 images': {
    source: 'platform.claude.com/docs/en/build-with-claude/vision',
    rejected: saying(...pictures(601)),
    words: 'messages: at most 600 images are allowed, not 601',
    accepted: saying(...pictures(600)),
  },
  'more than 600 pages of PDF': {
    source: 'platform.claude.com/docs/en/build-with-claude/pdf-support',
    rejected: saying(document(400), document(201)),
    words: 'A maximum of 600 PDF pages may be provided',
    accepted: saying(document(300), document(200)),
  },
  'a large image beside more than 20': {
    source: 'reports claude-code 34566, pi 824',
    rejected: saying(...pictures(20), picture(2001)),
    words: 'messages.0.content.20: At least one of the image dimensions exceed max allowed size: 2000 pixels',
    accepted: saying(...pictures(19), picture(2001)),
  },
  'a property name with other characters': {
    source: 'reports claude-code 586, decocms studio 6874, composio 3500',
    rejected: withTools({ ...tool, input_schema: schema({ 'filter[name]': { type: 'string' } }) }),
    words: "tools.0.custom.input_schema.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'",
    accepted: withTools({ ...tool, input_schema: schema({ 'filter.name-1_b': { type: 'string' } }) }),
  },
  'a boolean exclusiveMinimum': {
    source: 'reports decocms studio 6874, composio 3500',
    rejected: withProperty({ type: 'integer', minimum: 0, exclusiveMinimum: true }),
    words: DIALECT,
    accepted: withProperty({ type: 'integer', exclusiveMinimum: 0 }),
  },
  'a property that says itself that it is required': {
    source: 'reports decocms studio 6874, composio 3500',
    rejected: withProperty({ type: 'string', required: true }),
    words: DIALECT,
    accepted: withProperty({ type: 'object', required: ['b'], properties: { b: {}, required: { type: 'boolean' } } }),
  },
  'items as a list': {
    source: 'reports decocms studio 6874, composio 3500',
    rejected: withProperty({ anyOf: [{ type: 'array', items: [{ type: 'string' }] }] }),
    words: DIALECT,
    accepted: withProperty({ anyOf: [{ type: 'array', prefixItems: [{ type: 'string' }] }] }),
  },
  'an enum that is no list': {
    source: 'reports decocms studio 6874, composio 3500',
    rejected: withProperty({ type: 'string', enum: 'a' }),
    words: DIALECT,
    accepted: withProperty({ type: 'string', enum: ['a'] }),
  },
  'half of a surrogate pair': {
    source: 'reports claude-code 60394, opencode 13985',
    rejected: asking('x \ud83d'),
    words: 'no low surrogate in string',
    accepted: asking('x \ud83d\ude00 \\ud83d'),
  },
};

describe('the simulator rejects', () => {
  test.each(Object.entries(PAIRS))('%s', async (_, { source, rejected, words, accepted }) => {
    expect(source).not.toBe('');
    expect(await findRejection(rejected)).toContain(words);
    expect(await findRejection(accepted)).toBeUndefined();
  });
});

test('MCP servers need no toolset under the older MCP beta, which has no toolsets', async () => {
  const older = { 'anthropic-beta': 'mcp-client-2025-04-04' };
  expect(await findRejection(asking('x', { mcp_servers: [wiki] }), older)).toBeUndefined();
});

test('the simulator accepts combinations that no source documents as rejected', async () => {
  const called = { ...tool, allowed_callers: ['code_execution_20260120'] };
  const exemplified = { ...tool, input_examples: [{ town: 1 }] };
  for (const one of [called, exemplified]) expect(await findRejection(withTools(one))).toBeUndefined();
});
