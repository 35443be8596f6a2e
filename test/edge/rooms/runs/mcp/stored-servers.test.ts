import { describe, expect, onTestFinished, test } from 'vitest';
import { settingsOf } from '../../../../../src/edge/gate/settings/settings.ts';
import type { Json } from '../../../../../src/edge/kit/json/object.ts';
import { checkTools } from '../../../../../src/edge/named/tools/check-tools.ts';
import { storedTools } from '../../../../../src/edge/named/versions/stored-tools.ts';
import { serveHttp, serveMcp, serveWithoutSessions } from '../../../../support/mcp-server.ts';

const identity = { account: 'alice', scopes: ['messages', 'prefixes', 'tools'] as const, token: undefined };

/** What is to end although no answer waits for it. */
const kept: Promise<unknown>[] = [];

/** Stores tools at an edge that may call a host. */
function storing(
  tools: unknown,
  host = '',
  scopes: readonly string[] = identity.scopes,
  warn: (sentence: string) => void = () => {},
) {
  // A secret belongs to one host.
  const TOOL_SECRET_MCP = `${host.includes(',') ? 'other.example.com' : host}=Bearer s3cret`;
  const settings = settingsOf({ TOOL_HOSTS: host, TOOL_SECRET_MCP }, true);
  const waitUntil = (work: Promise<unknown>) => void kept.push(work);
  const around = { onAsking: async () => {}, warn, waitUntil };
  return storedTools(tools, { ...identity, scopes } as never, settings, around) as Promise<Json[]>;
}

/** A server whose list of tools a test says, page by page. */
async function listing(page: (cursor: string | undefined) => unknown, headers: Record<string, string> = {}) {
  const server = await serveHttp(async (request, response) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of request) chunks.push(chunk as Uint8Array);
    const { id, method, params } = JSON.parse(Buffer.concat(chunks).toString()) as {
      id: number;
      method: string;
      params?: { cursor?: string };
    };
    if (id === undefined) return void response.writeHead(202).end();
    const result = method === 'initialize' ? { protocolVersion: '2025-11-25', capabilities: {} } : page(params?.cursor);
    if (typeof result === 'number') return void response.writeHead(result, headers).end();
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
  });
  onTestFinished(() => server.close());
  return server;
}

const tool = (name: string, more: object = {}) => ({ name, inputSchema: { type: 'object' }, ...more });

describe.each([true, false].flatMap((hasSessions) => [true, false].map((isJson) => ({ hasSessions, isJson }))))(
  'a real server (sessions: $hasSessions, JSON: $isJson)',
  (mode) => {
    test('is stored as its tools, each once but where it says otherwise', async () => {
      const server = await serveMcp(mode);
      onTestFinished(() => server.close());
      const run = { mcp: server.url, headers: { authorization: { secret: 'MCP' } }, timeout_seconds: 9 };
      const own = { name: 'mine', input_schema: { type: 'object' } };
      const stored = await storing([own, { name: 'w', defer_loading: true, run }], server.host);
      expect(
        stored.map(({ name, run }) => [name, (run as Json | undefined)?.tool, (run as Json | undefined)?.once]),
      ).toEqual([
        ['mine', undefined, undefined],
        ['w_get_weather', 'get.weather', false],
        ['w_book', 'book', true],
        ['w_look', 'look', false],
        ...['measure', 'fail', 'wait'].map((name) => [`w_${name}`, name, true]),
        ['w_hold', 'hold', false],
        ...['ask', 'big'].map((name) => [`w_${name}`, name, true]),
      ]);
      expect(stored[1]).toEqual({
        name: 'w_get_weather',
        description: 'Tells the weather.',
        defer_loading: true,
        input_schema: expect.objectContaining({ type: 'object', required: ['city'] }),
        run: { ...run, tool: 'get.weather', once: false },
      });
      expect(stored[3]).toMatchObject({ description: 'Looks out of the window.' });
      expect(server.headers.every(({ authorization }) => authorization === 'Bearer s3cret')).toBe(true);
      await Promise.all(kept);
      expect(server.sessions.size).toBe(0);
      // What is stored can be stored again: then nothing is listed.
      const before = server.asked.length;
      expect(await storing(stored, server.host)).toEqual(stored);
      expect(server.asked.length).toBe(before);
    });
  },
);

test('a server that knows no sessions any more is listed without one', async () => {
  const { url, host, close } = await serveWithoutSessions();
  onTestFinished(close);
  expect(await storing([{ name: 's', run: { mcp: url } }], host)).toMatchObject([
    { name: 's_get_weather', run: { mcp: url, tool: 'get.weather', once: false } },
  ]);
});

test('of a server’s tools only those that are wanted are stored; one that does not exist is told', async () => {
  const { url, host } = await listing(() => ({ tools: ['a', 'b', 'c'].map((name) => tool(name)) }));
  const run = { mcp: url, tools: ['c', 'a'], once: false };
  expect(await storing([{ name: 's', run }], host)).toMatchObject([
    { name: 's_a', run: { mcp: url, tool: 'a', once: false } },
    { name: 's_c', run: { mcp: url, tool: 'c', once: false } },
  ]);
  await expect(storing([{ name: 's', run: { ...run, tools: ['d'] } }], host)).rejects.toMatchObject({
    status: 400,
    message: 'tools.0.run.tools: this server has no tool d. It has: a, b, c.',
  });
});

test('a list in pages is read to its end, and no further than can be kept', async () => {
  const paged = await listing((cursor = '0') => ({
    tools: [tool(`t${cursor}`)],
    ...(cursor === '40' ? {} : { nextCursor: String(Number(cursor) + 1) }),
  }));
  expect(await storing([{ name: 's', run: { mcp: paged.url } }], paged.host)).toHaveLength(41);
  const endless = await listing(() => ({ tools: [], nextCursor: 'again' }));
  await expect(storing([{ name: 's', run: { mcp: endless.url } }], endless.host)).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining('more than 100 pages'),
  });
  const huge = await listing(() => ({ tools: [tool('a', { description: 'a'.repeat(1_000_000) })] }));
  await expect(storing([{ name: 's', run: { mcp: huge.url } }], huge.host)).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining('more than 1000000 bytes'),
  });
  const many = await listing(() => ({ tools: Array.from({ length: 201 }, (_, n) => tool(`t${n}`)) }));
  await expect(storing([{ name: 's', run: { mcp: many.url } }], many.host)).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining('more than 200 tools'),
  });
});

/** A tool whose schema Claude takes in no form. */
const odd = tool('odd', { inputSchema: { type: 'object', oneOf: [{ required: ['a'] }, { required: ['b'] }] } });

test('one tool that cannot be sent does not hide its server: it is left out, and told', async () => {
  const byPage = { type: 'object', properties: { page: { type: 'string' } }, required: ['page'] };
  const byUrl = { properties: { url: { type: 'string' } }, required: ['url'] };
  const schemas = { plain: {}, union: { type: 'object', anyOf: [byPage, byUrl] } };
  const good = Object.entries(schemas).map(([name, inputSchema]) => tool(name, { inputSchema }));
  const { url, host } = await listing(() => ({ tools: [{ inputSchema: {} }, odd, ...good, null] }));
  const warnings: string[] = [];
  const stored = await storing([{ name: 's', run: { mcp: url } }], host, identity.scopes, (one) => warnings.push(one));
  expect(stored.map(({ name, input_schema }) => [name, input_schema])).toEqual([
    ['s_plain', { type: 'object' }],
    ['s_union', { type: 'object', properties: { ...byPage.properties, ...byUrl.properties } }],
  ]);
  expect(warnings).toEqual([
    'tools.0.run.mcp: A tool is left out, because it has no name.',
    expect.stringContaining('tools.0.run.mcp: The tool odd is left out'),
    'tools.0.run.mcp: A tool is left out, because it has no name.',
  ]);
});

test('the tools that are asked for are chosen first: those beside them are no fault, however many', async () => {
  const others = Array.from({ length: 250 }, (_, n) => tool(`t${n}`));
  const { url, host } = await listing(() => ({ tools: [{}, odd, ...others, tool('mine')] }));
  const warnings: string[] = [];
  const warn = (sentence: string) => void warnings.push(sentence);
  const run = { mcp: url, tools: ['mine'] };
  expect(await storing([{ name: 's', run }], host, identity.scopes, warn)).toMatchObject([{ name: 's_mine' }]);
  expect(warnings).toEqual([]);
  await expect(storing([{ name: 's', run: { ...run, tools: ['odd'] } }], host)).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining('The tool odd is left out'),
  });
});

test('names are made to fit, and two of the same are refused', async () => {
  const { url, host } = await listing(() => ({ tools: [tool('a.b'), tool(`é${'x'.repeat(200)}`)] }));
  const stored = await storing([{ name: 's', run: { mcp: url } }], host);
  expect(stored.map(({ name }) => name)).toEqual(['s_a_b', `s__${'x'.repeat(125)}`]);
  const same = [
    { name: 's', run: { mcp: url } },
    { name: 's_a_b', input_schema: { type: 'object' } },
  ];
  await expect(storing(same, host)).rejects.toMatchObject({ status: 400, message: expect.stringContaining('s_a_b') });
});

/** A schema that no one could write a second time. */
function deepSchema(): object {
  let schema: object = { type: 'object' };
  for (let depth = 0; depth < 600; depth += 1) schema = { type: 'object', properties: { a: schema } };
  return schema;
}

test.each<[string, (cursor?: string) => unknown, number, string]>([
  ['has no list', () => ({}), 400, 'is none'],
  ['has only a tool without a schema', () => ({ tools: [{ name: 'a' }] }), 400, 'The tool a is left out'],
  ['has only a tool without a name', () => ({ tools: [tool('')] }), 400, 'it has no name'],
  ['lists what is no tool', () => ({ tools: ['a'] }), 400, 'it has no name'],
  ['nests deep', () => ({ tools: [tool('a', { inputSchema: deepSchema() })] }), 400, 'nests too deep'],
  ['has no tools', () => ({ tools: [] }), 400, 'has no tools'],
  ['wants a login', () => 401, 400, 'It answered 401.'],
  ['redirects', () => 307, 400, 'redirect'],
  ['is down', () => 503, 502, 'It answered 503. Try again later.'],
])('a server that %s is not stored, and it is said why', async (_, page, status, why) => {
  const { url, host } = await listing(page);
  const storedOne = storing([{ name: 's', run: { mcp: url } }], host);
  await expect(storedOne).rejects.toMatchObject({ status, message: expect.stringContaining(why) });
});

test('a server that is not there may be later', async () => {
  const { url, host, close } = await listing(() => 500);
  await close();
  await expect(storing([{ name: 's', run: { mcp: url } }], host)).rejects.toMatchObject({
    status: 502,
    message: expect.stringContaining('could not be reached'),
  });
});

test.each<[string, object, string]>([
  ['at another host', { mcp: 'https://elsewhere.example.com/mcp' }, 'run.mcp: its host'],
  ['at a private address', { mcp: 'https://10.0.0.1/mcp' }, 'run.mcp: must not be a private address'],
  ['without TLS', { mcp: 'http://mcp.example.com/' }, 'run.mcp: must be an https URL'],
  [
    'with a secret of another host',
    { mcp: 'https://mcp.example.com', headers: { a: { secret: 'MCP' } } },
    'TOOL_SECRET_MCP',
  ],
  ['with no tool', { mcp: 'https://mcp.example.com', tools: [] }, 'run.tools'],
  ['with an address twice', { mcp: 'https://mcp.example.com', url: 'https://mcp.example.com' }, 'url'],
])('no server is called %s', async (_, run, why) => {
  await expect(storing([{ name: 's', run }], 'mcp.example.com,10.0.0.1')).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining(why),
  });
});

test('only a caller who may bring tools may bring servers, and a request alone can have none', async () => {
  const tools = [{ name: 's', run: { mcp: 'https://mcp.example.com' } }];
  await expect(storing(tools, 'mcp.example.com', ['messages', 'prefixes'])).rejects.toMatchObject({ status: 403 });
  const settings = settingsOf({ TOOL_HOSTS: 'mcp.example.com' }, true);
  const sender = { identity: { ...identity, scopes: ['tools'] } as never, settings, isStored: false };
  expect(() => checkTools(tools, sender)).toThrow('PUT /prefixes/:name');
});

test('what the API would refuse at each turn is refused when it is stored; toolsets have no name, and no schema', async () => {
  const own = { name: 'edge_clock' };
  await expect(storing([own], 'mcp.example.com')).rejects.toMatchObject({
    message: expect.stringContaining('tools.0.input_schema'),
  });
  await expect(storing([{ ...own, type: 'custom' }], 'mcp.example.com')).rejects.toMatchObject({ status: 400 });
  const served = [
    { type: 'mcp_toolset', mcp_server_name: 'one' },
    { type: 'mcp_toolset', mcp_server_name: 'two' },
    { type: 'web_search_20250305', name: 'web_search' },
  ];
  expect(await storing(served, 'mcp.example.com')).toEqual(served);
});
