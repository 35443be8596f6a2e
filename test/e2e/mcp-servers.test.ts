/** Random MCP servers, from their list to an answer: `list-server-tools.test.ts` stores their tools, and asks no model. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import Ajv2020 from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { readRequestBody } from '#test/support/local-server.ts';
import { startHttpServer } from '#test/support/mcp-server.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { type FakeUpstream, startUpstream } from '#test/support/upstream.ts';
import { messageWith } from '#test/support/wire.ts';

/** How a server answers `initialize`: with a session, without one, or not at all, in one of many ways. */
const OPENINGS = {
  session: { result: { protocolVersion: '2025-11-25', capabilities: {} }, hasSession: true },
  'no session': { result: { protocolVersion: '2025-03-26', capabilities: {} } },
  'its own version': { result: { protocolVersion: '2026-07-28', capabilities: {} }, isSessionless: true },
  ...Object.fromEntries([400, 404, 405, 406, 422].map((status) => [status, { status, isSessionless: true }])),
  ...Object.fromEntries(
    [-32_601, -32_600, -32_022, -32_001, 7].flatMap((code) =>
      [200, 400].map((status) => [
        `${code} ${status}`,
        { status, error: { code, message: 'No.' }, isSessionless: true },
      ]),
    ),
  ),
} satisfies Record<string, Opening>;
interface Opening {
  result?: JsonObject;
  status?: number;
  error?: JsonObject;
  hasSession?: boolean;
  isSessionless?: boolean;
}

/** What a call of its tools is answered with. */
const RESULTS: Readonly<Record<string, JsonObject | number>> = {
  text: { result: { content: [{ type: 'text', text: 'sun' }] } },
  nothing: { result: { content: [] } },
  'half a character': { result: { content: [{ type: 'text', text: 'half \ud83d' }] } },
  'an error of the tool': { result: { isError: true, content: [{ type: 'text', text: 'It rains.' }] } },
  'an error of JSON-RPC': { error: { code: -32_603, message: 'It broke.' } },
  'no content': { result: {} },
  'an odd block': { result: { content: [{ type: 'odd', odd: true }] } },
  404: 404,
  500: 500,
};

/** The description of a tool that the API rejects although no rule is known that it breaks. */
const REJECTED = 'Rejected.';
const name = fc.oneof(
  fc.string({ minLength: 1, maxLength: 12 }),
  fc.constantFrom('a.b', 'a_b', 'a/b', 'half \ud83d', 'x'.repeat(200), `${'x'.repeat(200)}y`),
);
const key = fc.oneof(
  fc.constantFrom('city', 'due date', 'a.b', 'StartTime<', 'k'.repeat(65), 'half \ud83d'),
  fc.string(),
);
const { schema } = fc.letrec<{ schema: unknown; object: JsonObject }>((tie) => ({
  schema: fc.oneof(
    { depthSize: 'small', maxDepth: 3 },
    fc.constantFrom<unknown>(
      ...[{}, true, null, 'string', { type: 'string' }, { type: 'text' }, { type: ['string', 'null'] }],
      ...[{ enum: ['a'] }, { enum: 'a' }, { enum: [] }, { const: 1 }, { type: 'number', exclusiveMinimum: true }],
      ...[{ type: 'string', required: true }, { minLength: -1 }, { format: 7 }, { type: 'array', items: [{}] }],
      ...[{ anyOf: [] }, { not: { type: 'null' } }, { $ref: '#/properties/city' }, { description: 'half \ud83d' }],
    ),
    fc.record({ type: fc.constant('array'), items: tie('schema') }),
    fc.record({ anyOf: fc.array(tie('schema'), { maxLength: 2 }) }),
    tie('object'),
  ),
  object: fc.record(
    {
      type: fc.constant('object'),
      properties: fc.dictionary(key, tie('schema'), { maxKeys: 3 }),
      required: fc.constantFrom<unknown>(['city'], [], 'city', ['city', 'city']),
      additionalProperties: fc.constantFrom<unknown>(false, true, 'no'),
      oneOf: fc.array(tie('schema'), { maxLength: 2 }),
      $schema: fc.constant('http://json-schema.org/draft-07/schema#'),
    },
    { requiredKeys: [] },
  ),
}));
const listedTool = fc.record(
  {
    name,
    inputSchema: schema,
    description: fc.oneof(fc.string(), fc.constantFrom('half \ud83d', REJECTED)),
    execution: fc.constantFrom({ taskSupport: 'optional' }, { taskSupport: 'required' }),
  },
  { requiredKeys: ['name', 'inputSchema'] },
);

const GOOD = {
  name: 'good',
  description: 'Tells the weather.',
  inputSchema: { type: 'object', properties: { city: { type: 'string' } } },
};
const server = fc.record({
  opening: fc.constantFrom(...(Object.keys(OPENINGS) as (keyof typeof OPENINGS)[])),
  result: fc.constantFrom(...Object.keys(RESULTS)),
  isStream: fc.boolean(),
  pageSize: fc.integer({ min: 1, max: 4 }),
  tools: fc.array(listedTool, { maxLength: 6 }),
  /** What the agent says of all of them. */
  entry: fc.record(
    {
      defer_loading: fc.boolean(),
      strict: fc.boolean(),
      allowed_callers: fc.constantFrom(['direct'], ['code_execution_20260120']),
      input_examples: fc.constantFrom([{ city: 'Bern' }], [{ city: 7 }]),
    },
    { requiredKeys: [] },
  ),
});
type Server = typeof server extends fc.Arbitrary<infer Made> ? Made : never;

let servers: readonly Server[] = [];
let upstream: FakeUpstream;
let mcp: Awaited<ReturnType<typeof startHttpServer>>;
let edge: Edge;
/** The words of the rules that the tools of a request have broken. */
const brokenRules: string[] = [];

beforeAll(async () => {
  mcp = await startHttpServer((request, response) => void answerMcp(request, response));
  upstream = await startUpstream(({ path, body }, response) => {
    const send = (status: number, type: string, text: string) =>
      response.writeHead(status, { 'content-type': type }).end(text);
    if (path.includes('count_tokens')) return send(200, 'application/json', '{"input_tokens":100}');
    const asked = JSON.parse(body.toString()) as { tools?: JsonObject[]; messages: { content: unknown }[] };
    const { tools = [] } = asked;
    const broken = findBrokenRule(body.toString(), tools);
    if (broken !== undefined) brokenRules.push(broken);
    const rejected = tools.findIndex(({ description }) => description === REJECTED);
    const message = broken ?? (rejected < 0 ? undefined : `tools.${rejected}.custom: lorem ipsum`);
    if (message !== undefined) {
      return send(
        400,
        'application/json',
        JSON.stringify({ type: 'error', error: { type: 'invalid_request_error', message } }),
      );
    }
    const isAnswered = JSON.stringify(asked.messages.at(-1)).includes('"tool_result"');
    const good = tools.find((tool) => String(tool.name).endsWith('_good'));
    const call = { type: 'tool_use', id: 'toolu_1', name: good?.name, input: { city: 'Bern' } };
    const ending = isAnswered
      ? { content: [{ type: 'text', text: 'Done.' }] }
      : { content: [call], stop_reason: 'tool_use' };
    return send(200, 'text/event-stream', createMessageEventStream(messageWith(ending)));
  });
  edge = await startEdge(inject('worker'), {
    ...{ UPSTREAM: 'anthropic', ANTHROPIC_BASE_URL: upstream.url, ANTHROPIC_API_KEY: 'sk-of-the-test' },
    TOOL_HOSTS: mcp.host,
  });
});
afterAll(async () => {
  await edge?.stop();
  await upstream?.stop();
  await mcp?.close();
});

/** Answers as the server that the path names. */
async function answerMcp(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const text = await readRequestBody(request);
  const {
    id,
    method,
    params = {},
  } = (text === '' ? {} : JSON.parse(text)) as { id?: number; method?: string; params?: JsonObject };
  const { opening, result, isStream, pageSize, tools } = servers[Number(request.url?.split('/').at(-1))] as Server;
  const { status = 200, hasSession, isSessionless, ...opened } = OPENINGS[opening] as Opening;
  const send = (code: number, message?: JsonObject | number) => {
    if (message === undefined || typeof message === 'number') return void response.writeHead(message ?? code).end();
    const body = JSON.stringify({ jsonrpc: '2.0', id, ...message });
    const notice = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info' } });
    response.writeHead(code, {
      'content-type': isStream ? 'text/event-stream' : 'application/json',
      ...(method === 'initialize' && hasSession && { 'mcp-session-id': 'one' }),
    });
    response.end(isStream ? `: hello\n\ndata: ${notice}\n\nevent: message\ndata: ${body}\n\n` : body);
  };
  if (method === 'initialize') return send(status, opened.result || opened.error ? opened : undefined);
  if (id === undefined) return send(request.method === 'DELETE' ? 200 : 202);
  const isModern = request.headers['mcp-protocol-version'] === '2026-07-28';
  if (isModern !== (isSessionless ?? false) || (hasSession && request.headers['mcp-session-id'] !== 'one'))
    return send(404);
  if (method === 'tools/call') return send(200, RESULTS[result]);
  const from = Number(params.cursor ?? 0);
  const all = [...tools, GOOD];
  const nextCursor = from + pageSize < all.length ? { nextCursor: String(from + pageSize) } : {};
  return send(200, { result: { resultType: 'complete', tools: all.slice(from, from + pageSize), ...nextCursor } });
}

const ajv = new Ajv2020({ strict: false, logger: false });

/** Finds the rule of the API that the tools of a request break. Written apart from the edge. */
function findBrokenRule(text: string, tools: readonly JsonObject[]): string | undefined {
  if (/\\ud[89ab]..(?!\\ud[c-f])/i.test(text)) return 'no low surrogate in string';
  if (tools.length > 0 && tools.every((tool) => tool.defer_loading))
    return 'At least one tool must have defer_loading=false';
  if (new Set(tools.map((tool) => tool.name)).size < tools.length) return 'tools: Tool names must be unique.';
  for (const [at, tool] of tools.entries()) {
    const { $schema: _, ...schema } = (tool.input_schema ?? {}) as JsonObject;
    const problems = {
      'name: String should match pattern': !/^[a-zA-Z0-9_-]{1,128}$/.test(String(tool.name)),
      "input_schema.type: Input should be 'object'": schema.type !== 'object',
      'input_schema does not support oneOf, allOf, or anyOf at the top level': ['oneOf', 'allOf', 'anyOf'].some(
        (one) => one in schema,
      ),
      'input_schema: JSON schema is invalid': !ajv.validateSchema(schema),
      'input_schema.properties: Property keys should match pattern': Object.keys(
        (schema.properties ?? {}) as JsonObject,
      ).some((one) => !/^[a-zA-Z0-9_.-]{1,64}$/.test(one)),
      "For 'object' type, 'additionalProperties' must be explicitly set to false":
        tool.strict && schema.additionalProperties !== false,
      'allowed_callers: no such tool': JSON.stringify(tool.allowed_callers ?? '').includes('code_execution'),
      'defer_loading: no cache_control': tool.defer_loading && tool.cache_control,
    };
    const [problem] = Object.entries(problems).find(([, isBroken]) => isBroken) ?? [];
    if (problem !== undefined) return `tools.${at}.custom: ${problem}`;
  }
  return undefined;
}

const send = async (method: string, path: string, body: object) => {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(edge.url + path, { method, headers, body: JSON.stringify(body) });
  return { status: response.status, text: await response.text(), headers: response.headers };
};

test('an agent with one valid tool responds, whatever else its MCP servers list and however they respond', async () => {
  let scenario = 0;
  await tryAsyncCases(caseCount(300), fc.array(server, { minLength: 1, maxLength: 3 }), async (random) => {
    scenario += 1;
    servers = random;
    const tools = random.map(({ entry }, at) => ({
      name: `s${at}`,
      ...entry,
      run: { mcp: `http://${mcp.host}/${at}` },
    }));
    const agent = { model: 'claude-haiku-5-5', max_tokens: 1_000, tools };
    const put = await send('PUT', '/agents/random', agent);
    expect(put).toMatchObject({ status: 200 });
    brokenRules.length = 0;
    const asked = { stream: false, messages: [{ role: 'user', content: 'Is it sunny?' }] };
    for (const conversation of [`c${scenario}`, `c${scenario}`]) {
      const answer = await send('POST', '/v1/messages', { agent: 'random', conversation, ...asked });
      expect(answer).toMatchObject({ status: 200, text: expect.stringContaining('Done.') });
    }
    expect(brokenRules).toEqual([]);
    return undefined;
  });
});
