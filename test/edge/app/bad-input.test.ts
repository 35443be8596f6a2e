import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';

const MESSAGES = ['/messages', '/v1/messages'] as const;
const COUNTS = ['/count-tokens', '/v1/messages/count_tokens'] as const;
const ROUTES = [...MESSAGES, ...COUNTS];

/** An upstream that accepts everything, on every route. */
const accepting = (vars?: Record<string, string>) =>
  createTestApp(
    ({ url }) => Response.json(url.pathname.includes('models') ? { data: [] } : { type: 'message', input_tokens: 1 }),
    vars,
  );

/** What design §3 lets Sluice refuse by itself, written down again. */
function isRefused(bytes: Uint8Array, counts: boolean): boolean {
  let body: unknown;
  try {
    body = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    return true;
  }
  if (!isObject(body)) return true;
  const { model, messages, max_tokens, stream } = body;
  if (typeof model !== 'string' || model === '') return true;
  if (!Array.isArray(messages) || messages.length === 0) return true;
  for (const message of messages) {
    if (!isObject(message) || typeof message.role !== 'string') return true;
    if (typeof message.content !== 'string' && !Array.isArray(message.content)) return true;
  }
  if (!(counts && max_tokens === undefined) && !(Number.isInteger(max_tokens) && Number(max_tokens) >= 0)) return true;
  return stream !== undefined && stream !== null && typeof stream !== 'boolean';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isJson(bytes: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
    return true;
  } catch {
    return false;
  }
}

const VALID = [
  { model: 'claude-haiku-4-5', max_tokens: 10, messages: [{ role: 'user', content: 'Héllo 🌍' }] },
  {
    model: 'claude-opus-5-5',
    max_tokens: 0,
    stream: true,
    system: [{ type: 'text', text: 'Be "brief"\\\n', cache_control: { type: 'ephemeral', ttl: '1h' } }],
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'Which?' },
          { type: 'image', source: { type: 'base64', data: 'AA' } },
        ],
      },
      { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'pick', input: { n: 1.5e-3 } }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: [] }] },
    ],
    tools: [{ name: 'pick', input_schema: { type: 'object', properties: { n: { type: ['number', 'null'] } } } }],
    metadata: { user_id: null },
  },
  { stream: false, messages: [{ role: 'system', content: [] }], model: 'm', max_tokens: 1e2, of_the_future: [[{}]] },
];

const oddValue = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    '',
    'x',
    [],
    {},
    [[]],
    -1,
    0,
    1.5,
    1e300,
    true,
    false,
    [null],
    [{ role: 'user' }],
    [{ content: 'x' }],
  ),
  fc.jsonValue({ maxDepth: 2 }),
);
const place = fc.constantFrom(
  ['model'],
  ['max_tokens'],
  ['stream'],
  ['messages'],
  ['messages', 0],
  ['messages', 0, 'role'],
  ['messages', 0, 'content'],
  ['messages', 0, 'content', 0],
  ['messages', 2],
  ['system'],
  ['of_the_future'],
);

/** A copy in which one place has another value, or none. */
function changed(value: unknown, path: readonly (string | number)[], to: unknown): unknown {
  const [first, ...rest] = path;
  if (first === undefined) return to;
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => {
      if (index !== first) return [item];
      const inner = changed(item, rest, to);
      return inner === undefined ? [] : [inner];
    });
  }
  if (!isObject(value)) return value;
  return { ...value, [first]: changed(value[first], rest, to) };
}

const encoder = new TextEncoder();

const misshapen = fc
  .tuple(
    fc.constantFrom<unknown>(...VALID),
    fc.array(fc.tuple(place, fc.option(oddValue, { nil: undefined })), { maxLength: 3 }),
  )
  .map(([body, changes]) =>
    encoder.encode(JSON.stringify(changes.reduce((now, [path, to]) => changed(now, path, to), body))),
  );

const garbled = fc
  .tuple(
    fc.constantFrom(...VALID),
    fc.array(
      fc.record({
        at: fc.nat(),
        drop: fc.nat(3),
        add: fc.oneof(
          fc.constantFrom('"', '{', '}', '[', ']', ',', ':', '\\', '0', ' ', 'null', '\u0000', '"model":7,'),
          fc.uint8Array({ maxLength: 2 }),
        ),
      }),
      { minLength: 1, maxLength: 3 },
    ),
    fc.boolean(),
  )
  .map(([body, edits, cut]) => {
    let bytes = encoder.encode(JSON.stringify(body));
    for (const { at, drop, add } of edits) {
      const from = at % (bytes.length + 1);
      const added = typeof add === 'string' ? encoder.encode(add) : add;
      bytes = Uint8Array.of(...bytes.subarray(0, from), ...added, ...bytes.subarray(from + drop));
    }
    const last = edits.at(-1);
    return cut && last && last.drop === 3 ? bytes.subarray(0, last.at % (bytes.length + 1)) : bytes;
  });

/** A number as it is written in a sentence. */
const count = (number: number) => number.toLocaleString('en');

async function expectRefusal(app: TestApp, response: Response, status: number, type: string): Promise<void> {
  const told = await readError(response);
  expect({ status: response.status, type: told.type }).toEqual({ status, type });
  expect(response.headers.get('content-type')).toMatch(/^application\/json/);
  expect(response.headers.get('sluice-request-id')).toBe(told.request_id);
  expect(response.headers.get('request-id')).toBe(told.request_id);
  expect(app.sent).toHaveLength(0);
}

// Two routes each read a body by the same code: by day each of them tries half.
const MUTATED = caseCount(10_000, 0.5);

test.each(ROUTES)(
  `${count(MUTATED)} mutated requests to %s are rejected only for the documented reasons`,
  async (route) => {
    const app = accepting();
    const counts = route.includes('count');
    let tried = 0;
    let parseable = 0;
    let refused = 0;
    await tryAsyncCases(MUTATED, fc.oneof(misshapen, garbled), async (bytes) => {
      app.sent.length = 0;
      const response = await app.post(route, bytes);
      tried += 1;
      if (isJson(bytes)) parseable += 1;
      if (isRefused(bytes, counts)) {
        refused += 1;
        await expectRefusal(app, response, 400, 'invalid_request_error');
      } else {
        expect(response.status).toBe(200);
        expect(app.sent).toHaveLength(1);
      }
    });
    expect(parseable / tried).toBeGreaterThan(1 / 3);
    // Neither all nor none: both answers are tried.
    expect(refused / tried).toBeGreaterThan(0.2);
    expect(refused / tried).toBeLessThan(0.9);
  },
);

test.each(ROUTES)(
  '100,000 levels of nesting are forwarded unchanged by %s, but rejected in a long body',
  async (route) => {
    const app = accepting();
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    const objects = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`;
    const some = '{"a":'.repeat(20_000) + 1 + '}'.repeat(20_000);
    for (const body of [
      `{"stream":false,"of_the_future":${deep},"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}`,
      `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[${some}],"x":${some}}],"stream":false}`,
    ]) {
      const response = await app.post(route, body);
      expect(response.status).toBe(200);
      expect(app.sent.at(-1)?.text === body).toBe(true);
    }
    const sent = app.sent.length;
    const long = `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[${objects}]}],"stream":false}`;
    const refused = await app.post(route, long);
    expect([refused.status, (await readError(refused)).type, app.sent.length]).toEqual([
      413,
      'request_too_large',
      sent,
    ]);
  },
);

test('the error for an invalid message names the path of the fault, and never quotes the body', async () => {
  const app = accepting();
  const ok = { model: 'm', max_tokens: 1, messages: [{ role: 'user', content: 'x' }] };
  for (const [body, message] of [
    [
      { ...ok, model: undefined },
      'model: Field required. Send a model, such as "claude-haiku-5-5", or the name of an `agent`. The operator can set defaults for POST /messages with MESSAGE_DEFAULTS.',
    ],
    [{ ...ok, model: 7 }, 'model: Input should be a valid string'],
    [{ ...ok, max_tokens: undefined }, 'max_tokens: Field required'],
    [{ ...ok, max_tokens: -1 }, 'max_tokens: Input should be greater than or equal to 0'],
    [{ ...ok, max_tokens: 'private words' }, 'max_tokens: Input should be a valid integer'],
    [{ ...ok, messages: undefined }, 'messages: Field required'],
    [{ ...ok, messages: [] }, 'messages: at least one message is required'],
    [{ ...ok, messages: [ok.messages[0], { role: 'user' }] }, 'messages.1.content: Field required'],
    [{ ...ok, messages: [{ content: 'private words' }] }, 'messages.0.role: Field required'],
    [{ ...ok, messages: ['private words'] }, 'messages.0: Input should be an object with role and content'],
    [{ ...ok, stream: 'private words' }, 'stream: Input should be a valid boolean'],
  ] as const) {
    expect((await readError(await app.post('/messages', body))).message).toBe(message);
  }
  for (const text of ['{"model": private words', '"private words"', '["private words"]', 'private words']) {
    expect((await readError(await app.post('/messages', text))).message).not.toContain('private');
  }
});

const valid = JSON.stringify(VALID[0]);

test('a body with a byte order mark, invalid UTF-8 or a NUL byte is rejected', async () => {
  const app = accepting();
  const latin1 = Uint8Array.from(valid.replace('Héllo 🌍', 'Hé'), (character) => character.charCodeAt(0));
  for (const body of [`\ufeff${valid}`, latin1, `${valid}\u0000`]) {
    await expectRefusal(app, await app.post('/v1/messages', body), 400, 'invalid_request_error');
  }
});

test('a content type other than JSON gets a 415', async () => {
  const app = accepting();
  for (const route of ROUTES) {
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      '',
      'application/jsonx',
      'json',
    ]) {
      const response = await app.post(route, valid, { 'content-type': type });
      await expectRefusal(app, response, 415, 'invalid_request_error');
    }
    const none = await app.fetch(route, { method: 'POST', body: encoder.encode(valid) });
    await expectRefusal(app, none, 415, 'invalid_request_error');
  }
  for (const type of ['application/json', 'Application/JSON; charset=utf-8', 'application/vnd.x+json']) {
    expect((await app.post('/v1/messages', valid, { 'content-type': type })).status).toBe(200);
  }
});

test('a compressed body gets a 415, and a body with the encoding `identity` is read', async () => {
  const app = accepting();
  const compressed = new Response(valid).body?.pipeThrough(new CompressionStream('gzip'));
  const bytes = new Uint8Array(await new Response(compressed).arrayBuffer());
  for (const route of ROUTES) {
    for (const encoding of ['gzip', 'GZip', 'br', 'zstd', 'gzip, gzip']) {
      const response = await app.post(route, bytes, { 'content-encoding': encoding });
      await expectRefusal(app, response, 415, 'invalid_request_error');
    }
  }
  for (const encoding of ['', 'identity']) {
    expect((await app.post('/v1/messages', valid, { 'content-encoding': encoding })).status).toBe(200);
  }
});

test('a body of exactly the limit is accepted, and one byte more gets a 413, with or without content-length', async () => {
  const limit = encoder.encode(valid).length;
  const piecewise = (bytes: Uint8Array) =>
    new ReadableStream({
      start(controller) {
        for (let at = 0; at < bytes.length; at += 7) controller.enqueue(bytes.slice(at, at + 7));
        controller.close();
      },
    });
  for (const route of ROUTES) {
    for (const [bytes, status] of [
      [limit, 200],
      [limit - 1, 413],
    ] as const) {
      const app = accepting({ MAX_BODY_BYTES: String(bytes) });
      const body = encoder.encode(valid);
      const said = await app.post(route, body, { 'content-length': String(limit) });
      const unsaid = await app.fetch(route, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: piecewise(body),
      });
      for (const response of [said, unsaid]) {
        expect(response.status).toBe(status);
        if (status === 413) await expectRefusal(app, response, 413, 'request_too_large');
      }
    }
  }
});

test('an endless body is rejected before twice the limit is read', async () => {
  const app = accepting({ MAX_BODY_BYTES: '100000' });
  let pulled = 0;
  const endless = new ReadableStream({
    pull(controller) {
      pulled += 1;
      controller.enqueue(new Uint8Array(1_000).fill(32));
    },
  });
  const headers = { 'content-type': 'application/json' };
  const response = await app.fetch('/messages', { method: 'POST', headers, body: endless });
  await expectRefusal(app, response, 413, 'request_too_large');
  expect(pulled).toBeLessThan(200);
});

test('an unsupported method gets a 405 with an Allow header', async () => {
  const app = accepting();
  for (const [route, allow] of [
    ...ROUTES.map((route) => [route, 'POST'] as const),
    ...['/models', '/v1/models', '/v1/models/claude-haiku-4-5', '/health'].map((route) => [route, 'GET'] as const),
  ]) {
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      if (method === allow) continue;
      const response = await app.fetch(route, { method });
      await expectRefusal(app, response, 405, 'invalid_request_error');
      expect(response.headers.get('allow')?.split(', ')).toContain(allow);
    }
  }
});

test('an unknown route gets a 404, and an unsupported route of the API a 501 that forbids retries', async () => {
  const app = accepting();
  for (const route of [
    '/nope',
    '/messages/',
    '/v1/messages/',
    '/v2/messages',
    '/api/hello',
    '/v1',
    '/%00',
    '/..%2f..%2fetc',
  ]) {
    await expectRefusal(app, await app.post(route, valid), 404, 'not_found_error');
  }
  for (const route of ['/v1/skills', '/v1/files/x/y', '/v1/messages/batches/x/y', '/v1/x?y']) {
    for (const method of ['GET', 'POST', 'DELETE']) {
      const response = await app.fetch(route, { method });
      await expectRefusal(app, response, 501, 'not_supported');
      expect(response.headers.get('x-should-retry')).toBe('false');
    }
  }
});

test('HEAD /health returns 200 with an empty body', async () => {
  const app = accepting();
  const response = await app.fetch('/health', { method: 'HEAD' });
  expect(response.status).toBe(200);
  expect(await response.text()).toBe('');
  expect(await (await app.fetch('/health')).json()).toMatchObject({ status: 'ok', upstream: 'anthropic' });
});

test('any bytes to any route by any method cause no server error, and rejected requests are not forwarded', async () => {
  const app = accepting();
  const path = fc.oneof(
    fc.constantFrom(...ROUTES, '/health', '/models', '/v1/models', '/v1/models/x', '/v1/files', '/', '/nope', '/docs'),
    fc.webPath().map((tail) => `/v1/models${tail}`),
    fc.stringMatching(/^\/[ -~]{0,20}$/).filter((text) => !text.startsWith('//') && !text.includes('\\')),
    fc.stringMatching(/^\/v1\/models\/(%[0-9a-f]{2}){1,6}$/),
  );
  const method = fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS');
  await tryAsyncCases(
    caseCount(3_000),
    path,
    method,
    fc.uint8Array({ maxLength: 40 }),
    fc.boolean(),
    async (route, how, bytes, json) => {
      app.sent.length = 0;
      const bodiless = how === 'GET' || how === 'HEAD';
      const headers: Record<string, string> = json ? { 'content-type': 'application/json' } : {};
      const response = await app.fetch(route, bodiless ? { method: how } : { method: how, headers, body: bytes });
      if (response.status >= 400) {
        expect(response.status === 501 || response.status < 500, `${how} ${route}: ${response.status}`).toBe(true);
        if (how !== 'HEAD') await readError(response);
        expect(app.sent).toHaveLength(0);
      }
      expect(response.headers.get('sluice-request-id')).toMatch(/^req_/);
      if (!/^\/(v1\/)?models/.test(route)) expect(app.sent).toHaveLength(0);
    },
  );
});

const LABELLING = [
  { input: 'Héllo 🌍', labels: ['a', { name: 'b', description: 'B', examples: ['x'] }], votes: 2, multi: true },
  {
    inputs: [
      { id: 'x', input: 'It crashes' },
      { id: 'y', input: '' },
    ],
    labels: ['a'],
    allow_none: true,
    fields: { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] },
    examples: [{ input: 'x', label: null }],
    instructions: 'Be strict.',
    cache_seconds: 0,
    stream: true,
  },
  { input: 'x', schema: { type: 'object', properties: { label: { enum: ['a', 'b'] }, s: { type: 'string' } } } },
  { input: 'x', classifier: 'nobody' },
];
const labellingPlace = fc.constantFrom(
  ['input'],
  ['inputs'],
  ['inputs', 0],
  ['inputs', 0, 'id'],
  ['inputs', 1, 'input'],
  ['labels'],
  ['labels', 0],
  ['labels', 1, 'examples'],
  ['schema'],
  ['schema', 'properties'],
  ['schema', 'properties', 'label'],
  ['fields'],
  ['fields', 'properties', 'n'],
  ['fields', 'required'],
  ['examples', 0],
  ['examples', 0, 'label'],
  ['votes'],
  ['multi'],
  ['allow_none'],
  ['cache_seconds'],
  ['stream'],
  ['model'],
  ['prefix'],
  ['classifier'],
);
const LABELLED = JSON.stringify({ label: 'a', labels: ['a'], fields: { n: 1, s: 'x' } });

test.each([
  ['POST', '/classify'],
  ['PUT', '/classifiers/x'],
  ['POST', '/classifiers/x/evaluate'],
])(
  `%s %s: ${count(caseCount(2_000))} mutated requests cause no server error; rejected ones are not forwarded`,
  async (method, path) => {
    const app = createTestApp(() =>
      Response.json({
        type: 'message',
        content: [{ type: 'text', text: LABELLED }],
        usage: { input_tokens: 1, output_tokens: 1 },
      }),
    );
    let taken = 0;
    const refusals = new Set<string>();
    await tryAsyncCases(
      caseCount(2_000),
      fc.constantFrom<unknown>(...LABELLING),
      fc.array(fc.tuple(labellingPlace, fc.option(oddValue, { nil: undefined })), { maxLength: 3 }),
      async (body, changes) => {
        app.sent.length = 0;
        const mutated = changes.reduce((now, [at, to]) => changed(now, at, to), body);
        const response = await app.fetch(path, {
          method,
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(mutated) ?? '',
        });
        if (response.status === 200) {
          taken += 1;
          await response.text();
          return;
        }
        const { type, message } = await readError(response);
        refusals.add(message);
        // An answer that does not hold to a mutated schema is the upstream's failure.
        const isAsked = app.sent.length > 0;
        expect(isAsked ? [500] : [400, 404, 413], `${type}: ${message}`).toContain(response.status);
      },
    );
    if (path === '/classify') expect(taken).toBeGreaterThan(caseCount(2_000) / 20);
    expect(refusals.size).toBeGreaterThan(5);
    await app.waitUntilSettled();
  },
);

test.each([
  ['PUT', '/agents/x', (deep: string) => `{"model":"claude-opus-5-5","max_tokens":5,"thinking":${deep}}`],
  ['PUT', '/agents/x', (deep: string) => `{"model":"m","max_tokens":5,"tools":[{"name":"x","input_schema":${deep}}]}`],
  ['PUT', '/prefixes/x', (deep: string) => `{"system":"x","tools":[{"name":"x","input_schema":${deep}}]}`],
  ['PUT', '/classifiers/x', (deep: string) => `{"instructions":"x","schema":${deep}}`],
  ['POST', '/conversations/c1/approvals/appr_x', (deep: string) => `{"decision":"approve","input":${deep}}`],
  ['POST', '/conversations', (deep: string) => `{"id":"c1","tools":[{"name":"x","input_schema":${deep}}]}`],
])('deep nesting is rejected by %s %s even in a short body', async (method, path, bodyWith) => {
  const app = accepting();
  for (const levels of [600, 5_000, 40_000]) {
    const body = bodyWith(`${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`);
    const answer = await app.fetch(path, { method, headers: { 'content-type': 'application/json' }, body });
    await expectRefusal(app, answer, 413, 'request_too_large');
  }
});

test('POST /classify rejects an input of 20 MB, deep schemas, malformed labels, and repeated labels or input ids', async () => {
  const app = accepting();
  const huge = 'é'.repeat(10_000_000);
  const alone = await app.post('/classify', { input: huge, labels: ['a'] });
  await expectRefusal(app, alone, 413, 'request_too_large');
  const deep = `${'{"items":'.repeat(100_000)}1${'}'.repeat(100_000)}`;
  for (const body of [`{"input":"x","labels":["a"],"fields":${deep}}`, `{"input":"x","schema":${deep}}`]) {
    await expectRefusal(app, await app.post('/classify', body), 413, 'request_too_large');
  }
  for (const body of [
    `{"input":"x","labels":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
    `{"input":"x","labels":[${'"a",'.repeat(700_000)}"a"]}`,
    `{"inputs":[${'{"id":"a","input":"x"},'.repeat(100_000)}{"id":"a","input":"x"}],"labels":["a"]}`,
  ]) {
    await expectRefusal(app, await app.post('/classify', body), 400, 'invalid_request_error');
  }
});
