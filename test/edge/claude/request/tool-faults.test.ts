import { expect, test } from 'vitest';
import { findStoredToolFaults, type StoredTools } from '#edge/claude/request/tool-faults.ts';

const weather = {
  name: 'weather',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const deferred = { ...weather, defer_loading: true };
const search = { type: 'tool_search_tool_bm25_20251119', name: 'tool_search_tool_bm25' };
const code = { type: 'code_execution_20260120', name: 'code_execution' };
const ofCode = { ...weather, allowed_callers: ['direct', code.type] };
const wiki = { type: 'url', name: 'wiki', url: 'https://wiki.example.com/' };
const toolset = { type: 'mcp_toolset', mcp_server_name: 'wiki' };
const fetching = (name: string) => ({
  ...{ type: 'web_fetch_20260318', name: 'web_fetch' },
  url_sources: { client_tool_results: { type: 'only', tools: [{ type: 'tool_reference', name }] } },
});
const searching = { type: 'web_search_20260318', name: 'web_search' };
const skills = { skills: [{ type: 'anthropic', skill_id: 'pdf' }] };

const NAMES = Array.from({ length: 20_000 }, (_, at) => `name ${at}`);

test.each<[string, StoredTools, RegExp]>([
  ['only deferred tools', { tools: [deferred] }, /At least one tool must have defer_loading=false/],
  ['a caller that is not there', { tools: [ofCode] }, /^tools\.0\.allowed_callers: .*code_execution_20260120/],
  [
    'an example without a city',
    { tools: [{ ...weather, input_examples: [{ city: 'Bern' }, {}] }] },
    /input_examples\.1/,
  ],
  ['no uses', { tools: [{ type: 'web_search_20260318', name: 'web_search', max_uses: 0 }] }, /max_uses/],
  [
    'an unknown source of URLs',
    { tools: [fetching('wether'), weather] },
    /^tools\.0\.web_fetch_20260318\.url_sources: .*wether/,
  ],
  ['a server that no toolset names', { tools: [weather], mcp_servers: [wiki] }, /'wiki' is defined but not referenced/],
  ['a toolset without its server', { tools: [toolset], mcp_servers: [] }, /'wiki' has no server/],
  ['a server by http:', { tools: [toolset], mcp_servers: [{ ...wiki, url: 'http://wiki.example.com/' }] }, /https:/],
  ['skills without code execution', { tools: [weather], container: skills }, /code execution/],
  ['a beta that does not exist', { tools: [], betas: ['fast-mode-2020-01-01'] }, /Unexpected value\(s\) `fast-mode/],
  [
    'web search by another name',
    { tools: [{ type: 'web_search_20260318', name: 'look_up' }] },
    /^tools\.0\.web_search_20260318\.name: Input should be 'web_search'/,
  ],
  [
    'allowed and blocked domains',
    { tools: [{ ...searching, allowed_domains: ['a.test'], blocked_domains: ['b.test'] }] },
    /only one of `allowed_domains` and `blocked_domains`/,
  ],
  ['a flag that is no boolean', { tools: [{ ...weather, strict: 'yes' }] }, /^tools\.0\.custom\.strict: Input should/],
  ['an unknown field', { tools: [{ ...weather, stric: true }] }, /^tools\.0\.custom\.stric: Extra inputs/],
  [
    'a property name with other characters',
    { tools: [{ ...weather, input_schema: { type: 'object', properties: { 'a b': {} } } }] },
    /Property keys should match pattern/,
  ],
  [
    'an older dialect of JSON Schema',
    {
      tools: [{ ...weather, input_schema: { type: 'object', properties: { a: { type: 'string', required: true } } } }],
    },
    /draft 2020-12/,
  ],
])('findStoredToolFaults reports the fault for which the API rejects a request: %s', (_, request, words) => {
  expect(findStoredToolFaults(request)).toEqual([expect.stringMatching(words)]);
});

test.each<[string, StoredTools]>([
  ['no tools', { tools: [] }],
  ['deferred tools beside a search', { tools: [deferred, search] }],
  ['a caller that is there', { tools: [ofCode, code] }],
  ['an example that fits', { tools: [{ ...weather, input_examples: [{ city: 'Bern' }] }] }],
  ['a known source of URLs', { tools: [fetching('weather'), weather] }],
  ['a server and its toolset', { tools: [toolset], mcp_servers: [wiki] }],
  ['a toolset whose server each request brings', { tools: [toolset] }],
  ['a server in the beta without toolsets', { tools: [], mcp_servers: [wiki], betas: ['mcp-client-2025-04-04'] }],
  [
    'a tool of a beta that each request can name',
    { tools: [{ type: 'advisor_20260301', name: 'advisor', model: 'x' }] },
  ],
  ['a tool that is newer than this list', { tools: [{ type: 'web_search_20990101', name: 'web_search', dreams: 1 }] }],
  ['a beta that is newer than this list', { tools: [], betas: ['dreams-2099-01-01'] }],
  [
    'examples that are too large to be checked',
    {
      tools: [
        {
          name: 'a',
          input_schema: { type: 'object', properties: { a: { type: 'array', items: { enum: NAMES } } } },
          input_examples: [{ a: [...NAMES, 'other'] }],
        },
      ],
    },
  ],
  ['skills beside code execution', { tools: [code], container: skills }],
])('findStoredToolFaults reports no fault in a request that the API accepts: %s', (_, request) => {
  expect(findStoredToolFaults(request)).toEqual([]);
});
