import Ajv2020 from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { validateEdgeTools } from '#edge/registry/tools/check-tools.ts';
import { toStoredTools } from '#edge/registry/versions/stored-tools.ts';
import twilio from '#test/fixtures/mcp/twilio.json';
import { startHttpServer, startMcpServer, startSessionlessMcpServer } from '#test/support/mcp-server.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';

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
  const settings = parseSettingsOnce({ TOOL_HOSTS: host, TOOL_SECRET_MCP }, true);
  const waitUntil = (work: Promise<unknown>) => void kept.push(work);
  const around = { onServerRequest: async () => {}, warn, waitUntil };
  return toStoredTools(tools, { ...identity, scopes } as never, settings, around) as Promise<JsonObject[]>;
}

/** A server whose list of tools a test says, page by page. */
async function listing(page: (cursor: string | undefined) => unknown, headers: Record<string, string> = {}) {
  const server = await startHttpServer(async (request, response) => {
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
  'a real MCP server (sessions: $hasSessions, JSON: $isJson)',
  (mode) => {
    test('is stored as its tools, with `once` unless the server declares a tool safe to repeat', async () => {
      const server = await startMcpServer(mode);
      onTestFinished(() => server.close());
      const run = { mcp: server.url, headers: { authorization: { secret: 'MCP' } }, timeout_seconds: 9 };
      const own = { name: 'mine', input_schema: { type: 'object' } };
      const stored = await storing([own, { name: 'w', defer_loading: true, run }], server.host);
      expect(
        stored.map(({ name, run }) => [
          name,
          (run as JsonObject | undefined)?.tool,
          (run as JsonObject | undefined)?.once,
        ]),
      ).toEqual([
        ['mine', undefined, undefined],
        ...['ask', 'big', 'book', 'fail'].map((name) => [`w_${name}`, name, true]),
        ['w_get_weather', 'get.weather', false],
        ['w_hold', 'hold', false],
        ['w_look', 'look', false],
        ...['measure', 'wait'].map((name) => [`w_${name}`, name, true]),
      ]);
      expect(stored.find(({ name }) => name === 'w_get_weather')).toEqual({
        name: 'w_get_weather',
        description: 'Tells the weather.',
        defer_loading: true,
        input_schema: expect.objectContaining({ type: 'object', required: ['city'] }),
        run: { ...run, tool: 'get.weather', once: false },
      });
      expect(stored.find(({ name }) => name === 'w_look')).toMatchObject({ description: 'Looks out of the window.' });
      expect(server.headers.every(({ authorization }) => authorization === 'Bearer s3cret')).toBe(true);
      await Promise.all(kept);
      expect(server.sessions.size).toBe(0);
      // What is stored can be stored again: then nothing is listed.
      const before = server.requestedMethods.length;
      expect(await storing(stored, server.host)).toEqual(stored);
      expect(server.requestedMethods.length).toBe(before);
    });
  },
);

test('an MCP server that no longer supports sessions is listed without one', async () => {
  const { url, host, close } = await startSessionlessMcpServer();
  onTestFinished(close);
  expect(await storing([{ name: 's', run: { mcp: url } }], host)).toMatchObject([
    { name: 's_get_weather', run: { mcp: url, tool: 'get.weather', once: false } },
  ]);
});

/** A server that answers `initialize` in a way of its own, and requests without sessions by listing a tool, or an error. */
async function refusingSessions(first: { status?: number; body?: unknown }, then: { status?: number; body?: unknown }) {
  const server = await startHttpServer(async (request, response) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of request) chunks.push(chunk as Uint8Array);
    const { id, method } = JSON.parse(Buffer.concat(chunks).toString()) as { id: number; method: string };
    const isModern = request.headers['mcp-protocol-version'] === '2026-07-28' && !request.headers['mcp-session-id'];
    const { status = 200, body } = method === 'initialize' ? first : isModern ? then : { status: 400, body: undefined };
    response.writeHead(status, { 'content-type': 'application/json', 'mcp-session-id': 'none' });
    response.end(body === undefined ? 'No.' : JSON.stringify({ jsonrpc: '2.0', id, ...body }));
  });
  onTestFinished(() => server.close());
  return server;
}
const modern = { body: { result: { resultType: 'complete', tools: [tool('look')] } } };
const rpcError = (code: number, message = 'No.') => ({ error: { code, message } });

test.each<[string, { status?: number; body?: unknown }]>([
  ['400', { status: 400 }],
  ['400 with an error', { status: 400, body: rpcError(-32_022, 'Unsupported protocol version') }],
  ['404', { status: 404 }],
  ['404 with an error', { status: 404, body: rpcError(-32_601, 'Method not found') }],
  ['405', { status: 405 }],
  ['406', { status: 406 }],
  ['422', { status: 422 }],
  ['an error: no such method', { body: rpcError(-32_601, 'Method not found') }],
  ['an error: another version', { body: rpcError(-32_022, 'Unsupported protocol version') }],
  ['an error: a header is missing', { body: rpcError(-32_001, 'Bad request') }],
  ['its own version', { body: { result: { protocolVersion: '2026-07-28', capabilities: {} } } }],
])('an MCP server that answers `initialize` with %s is listed by MCP without sessions', async (_, first) => {
  const { url, host } = await refusingSessions(first, modern);
  expect(await storing([{ name: 's', run: { mcp: url } }], host)).toMatchObject([{ name: 's_look' }]);
});

test.each<[string, { status?: number; body?: unknown }, { status?: number; body?: unknown }]>([
  ['It responded with 404.', { status: 404 }, { status: 404 }],
  ['It responded with 405.', { status: 405 }, { body: rpcError(-32_601, 'Method not found') }],
  ['wrong address', { body: rpcError(-32_000, 'wrong address') }, { status: 400 }],
  ['2024-11-05', { body: { result: { protocolVersion: '2024-11-05' } } }, { status: 400 }],
])(
  'the first error is reported if an MCP server cannot be listed with or without sessions: %s',
  async (said, first, then) => {
    const { url, host } = await refusingSessions(first, then);
    const expected = said === '2024-11-05' ? 'It does not support any MCP version' : said;
    await expect(storing([{ name: 's', run: { mcp: url } }], host)).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining(expected),
    });
  },
);

test.each([401, 403, 429, 500])(
  'an MCP server that answers `initialize` with %i is not called again',
  async (status) => {
    const { url, host } = await refusingSessions({ status }, modern);
    await expect(storing([{ name: 's', run: { mcp: url } }], host)).rejects.toMatchObject({
      message: expect.stringContaining(`It responded with ${status}.`),
    });
  },
);

test('only the requested tools of an MCP server are stored, and an unknown tool is rejected', async () => {
  const { url, host } = await listing(() => ({ tools: ['a', 'b', 'c'].map((name) => tool(name)) }));
  const run = { mcp: url, tools: ['c', 'a'], once: false };
  expect(await storing([{ name: 's', run }], host)).toMatchObject([
    { name: 's_a', run: { mcp: url, tool: 'a', once: false } },
    { name: 's_c', run: { mcp: url, tool: 'c', once: false } },
  ]);
  await expect(storing([{ name: 's', run: { ...run, tools: ['d'] } }], host)).rejects.toMatchObject({
    status: 400,
    message: 'tools.0.run.tools: this server has no tool d. Its tools are: a, b, c.',
  });
});

test('a paged list of an MCP server’s tools is read to its end, up to the limits on pages, bytes and tools', async () => {
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

test('a tool that Claude does not accept is omitted with a warning, and the server’s others are stored', async () => {
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
    expect.stringContaining('tools.0.run.mcp: The tool odd is left out'),
    ...Array(2).fill('tools.0.run.mcp: A tool is left out, because it has no name.'),
  ]);
});

test('only requested tools of an MCP server count towards the limits and cause warnings', async () => {
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

test('names of an MCP server’s tools are made valid, and numbered if another tool has the same name', async () => {
  const long = (end: string) => tool(`é${'x'.repeat(200)}${end}`);
  const { url, host } = await listing(() => ({ tools: [long('b'), tool('a_b'), tool('a.b'), long('a')] }));
  const server = { name: 's', run: { mcp: url } };
  const own = { name: 's_a_b', input_schema: { type: 'object' } };
  const stored = await storing([server, own], host);
  expect(stored.map(({ name, run }) => [name, (run as JsonObject | undefined)?.tool])).toEqual([
    ['s_a_b_2', 'a.b'],
    ['s_a_b_3', 'a_b'],
    [`s__${'x'.repeat(125)}`, `é${'x'.repeat(200)}a`],
    [`s__${'x'.repeat(123)}_2`, `é${'x'.repeat(200)}b`],
    ['s_a_b', undefined],
  ]);
});

/** What MCP servers list that Claude rejects, and forms of the same that it accepts. */
const SCHEMAS: readonly JsonObject[] = [
  { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  { $schema: 'http://json-schema.org/draft-07/schema#', type: 'object', additionalProperties: false },
  { type: 'object', properties: { 'StartTime<': { type: 'string' } } },
  { type: 'object', properties: { ['k'.repeat(65)]: {} } },
  { type: 'object', properties: { 'due date': {} } },
  { type: 'object', properties: { size: { type: 'number', minimum: 0, exclusiveMinimum: true } } },
  { type: 'object', properties: { size: { type: 'number', exclusiveMinimum: 0 } } },
  { type: 'object', properties: { city: { type: 'string', required: true } } },
  { type: 'object', properties: { pair: { type: 'array', items: [{ type: 'string' }, {}] } } },
  { type: 'object', properties: { pair: { type: 'array', prefixItems: [{ type: 'string' }] } } },
  { type: 'object', properties: { city: { enum: 'Bern' } } },
  { type: 'object', properties: { city: { enum: ['Bern'] } } },
  { type: 'object', properties: { city: { type: 'text' } } },
  { type: 'object', properties: { city: { anyOf: [{ type: 'string' }, { type: ['null', 'integer'] }] } } },
  { type: 'object', properties: { city: { anyOf: [] } } },
  { type: 'object', properties: { city: 'string' } },
  { type: 'object', properties: { city: { description: 'half \ud83d' } } },
  { type: 'object', oneOf: [{ required: ['a'] }] },
  { type: 'array' },
];

test('every tool that Claude accepts is stored in any order, and every other tool causes a warning', async () => {
  const listed = fc.uniqueArray(
    fc.record({
      name: fc.oneof(fc.constantFrom('a.b', 'a_b', 'a/b', 'half \ud83d', 'x'.repeat(200)), fc.string({ minLength: 1 })),
      description: fc.constantFrom(undefined, 'Tells the weather.', 'half \ud83d'),
      inputSchema: fc.constantFrom(...SCHEMAS),
      execution: fc.constantFrom(undefined, { taskSupport: 'optional' }, { taskSupport: 'required' }),
    }),
    { selector: ({ name }) => name, maxLength: 12 },
  );
  const ajv = new Ajv2020({ strict: false, logger: false });
  let tools: unknown[] = [];
  const { url, host } = await listing(() => ({ tools }));
  const server = [{ name: 's', run: { mcp: url } }];
  await tryAsyncCases(caseCount(100), listed, async (some) => {
    const good = tool('good', { inputSchema: SCHEMAS[0] });
    tools = [...some, good];
    const warnings: string[] = [];
    const stored = await storing(server, host, identity.scopes, (one) => warnings.push(one));
    tools.reverse();
    expect(await storing(server, host)).toEqual(stored);
    expect(stored.map(({ run }) => (run as JsonObject).tool)).toContain('good');
    expect(stored.length + warnings.length).toBe(tools.length);
    expect(new Set(stored.map(({ name }) => name)).size).toBe(stored.length);
    for (const { name, description = '', input_schema } of stored as JsonObject[]) {
      expect(name).toMatch(/^[a-zA-Z0-9_-]{1,128}$/);
      expect(String(description).isWellFormed()).toBe(true);
      const { $schema: _, ...schema } = input_schema as JsonObject;
      expect([ajv.validateSchema(schema), schema]).toEqual([true, schema]);
      expect(JSON.stringify(schema)).not.toContain('\\ud83d');
      expect(schema).not.toHaveProperty('oneOf');
      for (const key of Object.keys((schema.properties ?? {}) as JsonObject))
        expect(key).toMatch(/^[a-zA-Z0-9_.-]{1,64}$/);
    }
    return undefined;
  });
});

test('all tools that Twilio publishes are stored, except those with keys that Claude rejects', async () => {
  const tools: JsonObject[] = twilio.tools;
  const propertiesOf = ({ inputSchema }: JsonObject) =>
    Object.keys((inputSchema as { properties: JsonObject }).properties);
  const rejected = tools.filter((one) => !propertiesOf(one).every((key) => /^[a-zA-Z0-9_.-]{1,64}$/.test(key)));
  expect([tools.length, rejected.length]).toEqual([197, 9]);
  const { url, host } = await listing(() => ({ tools }));
  const warnings: string[] = [];
  const stored = await storing([{ name: 's', run: { mcp: url } }], host, identity.scopes, (one) => warnings.push(one));
  const names = (list: readonly JsonObject[]) => list.map(({ name }) => name).toSorted();
  expect(stored.map(({ run }) => (run as JsonObject).tool)).toEqual(
    names(tools.filter((one) => !rejected.includes(one))),
  );
  expect(warnings.map((one) => /The tool (\S+) is left out/.exec(one)?.[1])).toEqual(names(rejected));
});

const cityTool = (more: object = {}) =>
  tool('city', {
    inputSchema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], ...more },
  });
const CODE = { type: 'code_execution_20260120', name: 'code_execution' };
const SEARCH = { type: 'tool_search_tool_regex_20251119', name: 'search' };

test.each<[string, JsonObject, JsonObject[], unknown, string | undefined]>([
  ['defer_loading', { defer_loading: true }, [], undefined, 'Claude needs a tool that is not deferred'],
  ['defer_loading', { defer_loading: true }, [SEARCH], true, undefined],
  ['allowed_callers', { allowed_callers: [CODE.type] }, [], undefined, `no tool of the type ${CODE.type}`],
  ['allowed_callers', { allowed_callers: [CODE.type] }, [CODE], [CODE.type], undefined],
  ['allowed_callers', { allowed_callers: ['direct'] }, [], ['direct'], undefined],
  [
    'input_examples',
    { input_examples: [{ city: 7 }] },
    [],
    undefined,
    'the tool s_city does not accept input_examples.0',
  ],
  ['input_examples', { input_examples: [{ city: 'Bern' }] }, [], [{ city: 'Bern' }], undefined],
  ['strict', { strict: true }, [], undefined, "for the tool s_city: For 'object' type, 'additionalProperties'"],
])(
  '%s of an entry (%j beside %j) is omitted with a warning only if Claude rejects it',
  async (field, entry, others, expected, warning) => {
    const { url, host } = await listing(() => ({ tools: [cityTool()] }));
    const warnings: string[] = [];
    const list = [...others, { name: 's', ...entry, run: { mcp: url } }];
    const stored = await storing(list, host, identity.scopes, (one) => warnings.push(one));
    expect(stored.at(-1)).toMatchObject({ name: 's_city', run: { tool: 'city' } });
    expect(stored.at(-1)?.[field]).toEqual(expected);
    expect(warnings).toEqual(
      warning === undefined
        ? []
        : [expect.stringMatching(new RegExp(`^tools\\.${others.length}: ${field} is left out, because .*${warning}`))],
    );
  },
);

test('no more tools of an MCP server are strict than Claude accepts in one request', async () => {
  const closed = (name: string, optional = 0) =>
    tool(name, {
      inputSchema: {
        ...{ type: 'object', additionalProperties: false },
        properties: Object.fromEntries(Array.from({ length: optional }, (_, n) => [`p${n}`, { type: 'string' }])),
      },
    });
  const strictOf = async (tools: JsonObject[]) => {
    const { url, host } = await listing(() => ({ tools }));
    const stored = await storing([{ name: 's', strict: true, run: { mcp: url } }], host);
    return stored.filter(({ strict }) => strict).length;
  };
  expect(await strictOf(Array.from({ length: 22 }, (_, n) => closed(`t${n}`)))).toBe(20);
  expect(await strictOf([closed('a', 20), closed('b', 5), closed('c', 4)])).toBe(2);
});

/** A schema that no one could write a second time. */
function deepSchema(): object {
  let schema: object = { type: 'object' };
  for (let depth = 0; depth < 600; depth += 1) schema = { type: 'object', properties: { a: schema } };
  return schema;
}

test.each<[string, (cursor?: string) => unknown, number, string]>([
  ['has no list', () => ({}), 400, 'is malformed'],
  ['has only a tool without a schema', () => ({ tools: [{ name: 'a' }] }), 400, 'The tool a is left out'],
  ['has only a tool without a name', () => ({ tools: [tool('')] }), 400, 'it has no name'],
  ['lists what is no tool', () => ({ tools: ['a'] }), 400, 'it has no name'],
  ['nests deep', () => ({ tools: [tool('a', { inputSchema: deepSchema() })] }), 400, 'nested too deeply'],
  ['has no tools', () => ({ tools: [] }), 400, 'has no tools'],
  ['wants a login', () => 401, 400, 'It responded with 401.'],
  ['redirects', () => 307, 400, 'redirect'],
  ['is down', () => 503, 502, 'It responded with 503. Try again later.'],
])('an MCP server that %s is rejected with the reason', async (_, page, status, why) => {
  const { url, host } = await listing(page);
  const storedOne = storing([{ name: 's', run: { mcp: url } }], host);
  await expect(storedOne).rejects.toMatchObject({ status, message: expect.stringContaining(why) });
});

test('an unreachable MCP server gives a 502, so that the caller retries', async () => {
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
])('an MCP server is rejected without a call: %s', async (_, run, why) => {
  await expect(storing([{ name: 's', run }], 'mcp.example.com,10.0.0.1')).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining(why),
  });
});

test('an MCP server needs the `tools` scope, and must be stored rather than sent with a request', async () => {
  const tools = [{ name: 's', run: { mcp: 'https://mcp.example.com' } }];
  await expect(storing(tools, 'mcp.example.com', ['messages', 'prefixes'])).rejects.toMatchObject({ status: 403 });
  const settings = parseSettingsOnce({ TOOL_HOSTS: 'mcp.example.com' }, true);
  const sender = { identity: { ...identity, scopes: ['tools'] } as never, settings, isStored: false };
  expect(() => validateEdgeTools(tools, sender)).toThrow('PUT /prefixes/:name');
});

test('a tool without a schema is rejected when it is stored; toolsets need no name and no schema', async () => {
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
