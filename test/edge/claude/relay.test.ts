import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeUtf8 } from '#edge/kit/http/bytes.ts';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { createBody, createTestApp, readError, type SentRequest, TEST_KEY, type TestApp } from '#test/support/app.ts';
import { advanceClock, stopClock } from '#test/support/calendar.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createWebhookWorks } from '#test/support/webhooks.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

const MESSAGE = {
  id: 'msg_01',
  type: 'message',
  role: 'assistant',
  model: 'claude-haiku-4-5-20251001',
  content: [{ type: 'text', text: 'Hi' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 1_000, output_tokens: 100, cache_read_input_tokens: 10, cache_creation_input_tokens: 0 },
};
const REQUEST = { model: 'claude-haiku-4-5', max_tokens: 10, messages: [{ role: 'user', content: 'Hi' }] };

const json = (body: unknown, status = 200, headers: Record<string, string> = {}) =>
  Response.json(body, { status, headers: { 'request-id': 'req_upstream', ...headers } });
const sse = (body: BodyInit, headers: Record<string, string> = {}) =>
  new Response(body, {
    headers: { 'content-type': 'text/event-stream; charset=utf-8', 'request-id': 'req_up', ...headers },
  });
const error = (type: string, message: string) => ({
  type: 'error',
  error: { type, message },
  request_id: 'req_upstream',
});

const once = (answer: () => Response, vars?: Record<string, string>) =>
  createTestApp(answer, { UPSTREAM_MAX_RETRIES: '0', ...vars });

async function only(app: TestApp): Promise<Record<string, unknown>> {
  await app.waitUntilSettled();
  expect(app.log).toHaveLength(1);
  return app.log[0] ?? {};
}

function lastSent(app: TestApp): SentRequest {
  const sent = app.sent.at(-1);
  if (!sent) throw new Error('nothing was sent');
  return sent;
}

/** A member of the body as it is written: key, space, value, space. */
interface Written {
  key: string;
  value: string;
  before: string;
  after: string;
}

const write = (members: readonly Written[]) =>
  `{${members.map(({ key, value, before, after }) => `${before}${key}${after}:${before}${value}${after}`).join(',')}}`;

const space = fc.constantFrom('', ' ', '\n\t', '\r\n  ');
const member = (key: string, value: fc.Arbitrary<string>): fc.Arbitrary<Written> =>
  fc.record({ key: fc.constant(JSON.stringify(key)), value, before: space, after: space });
// Numbers that a parser would change, escapes that it would resolve, surrogates, deep and repeated keys.
const odd = fc.oneof(
  fc.constantFrom(
    '1e0',
    '-0.0',
    '123456789012345678901234567890',
    '"\\u0041\\/\\ud800"',
    '{"a":1,"a":2}',
    '[ [ ] , { } ]',
    '"\u2028"',
    '"🌍"',
  ),
  fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.stringify(value, undefined, 1)),
);
const required = (model: string, stream: string | undefined): fc.Arbitrary<Written>[] => [
  member('model', fc.constant(JSON.stringify(model))),
  member('max_tokens', fc.constantFrom('0', '10', '1e2', '5.0')),
  member(
    'messages',
    fc.constantFrom(
      '[{"role":"user","content":"Hi"}]',
      '[ {"role" : "user" , "x": 1e0, "content" : [ {"type":"of_the_future"} ]} ]',
    ),
  ),
  ...(stream === undefined ? [] : [member('stream', fc.constant(stream))]),
];
const foreign = fc.uniqueArray(
  fc
    .string({ minLength: 1 })
    .filter((name) => !/^(model|max_tokens|messages|stream|conversation|prefix|__proto__)$/.test(name)),
  { maxLength: 4 },
);
const bodies = (model: string, stream: string | undefined) =>
  foreign
    .chain((names) => fc.tuple(...required(model, stream), ...names.map((name) => member(name, odd))))
    .chain((members) => fc.shuffledSubarray(members, { minLength: members.length }));

test('forwards a body that needs no change byte for byte', async () => {
  const app = createTestApp(() => json(MESSAGE));
  await tryAsyncCases(
    caseCount(300),
    fc.oneof(
      fc.tuple(fc.constant('/v1/messages'), bodies('claude-x', undefined)),
      fc.tuple(fc.constant('/messages'), bodies('claude-x', 'false')),
    ),
    async ([path, members]) => {
      const text = write(members);
      expect((await app.post(path, text)).status, text).toBe(200);
      expect(lastSent(app).body).toEqual(new TextEncoder().encode(text));
    },
  );
});

test('adds `"stream":true` on /messages if the caller omits it, and changes no other byte', async () => {
  const app = createTestApp(() => json(MESSAGE));
  await tryAsyncCases(caseCount(200), bodies('claude-x', undefined), async (members) => {
    const text = write(members);
    expect((await app.post('/messages', text)).status).toBe(200);
    expect(lastSent(app).text).toBe(`{"stream":true,${text.slice(1)}`);
  });
});

test('replaces a model alias and changes no other byte', async () => {
  const app = createTestApp(() => json(MESSAGE), { MODEL_ALIASES: '{"fast":"claude-\\"new\\""}' });
  await tryAsyncCases(
    caseCount(200),
    bodies('fast', 'false'),
    fc.constantFrom('/messages', '/v1/messages', '/count-tokens'),
    async (members, path) => {
      await app.post(path, write(members));
      const value = JSON.stringify('claude-"new"');
      const expected = members.map((one) => (one.key === '"model"' ? { ...one, value } : one));
      expect(lastSent(app).text).toBe(write(expected));
    },
  );
});

test('forwards only the last of repeated keys, which is the validated one', async () => {
  const app = createTestApp(() => json(MESSAGE));
  const rest = '"max_tokens":1,"messages":[{"role":"user","content":"Hi"}]';
  for (const [body, expected] of [
    [`{"model":"dear", ${rest}, "model":"cheap"}`, `{${rest}, "model":"cheap"}`],
    [`{"mo\\u0064el":"dear",${rest},"model":"cheap"}`, `{${rest},"model":"cheap"}`],
    [`{"max_tokens":9e9,"model":"m",${rest}}`, `{"model":"m",${rest}}`],
    [`{"a\\"b":1,"model":"m",${rest},"a\\"b":2}`, `{"model":"m",${rest},"a\\"b":2}`],
  ] as const) {
    expect((await app.post('/v1/messages', body)).status).toBe(200);
    expect(lastSent(app).text.replace(/\s/g, '')).toBe(expected.replace(/\s/g, ''));
  }
});

test('forwards unknown headers, betas, versions and the query, but not the caller’s credential', async () => {
  const app = createTestApp(() => json(MESSAGE));
  const headers = {
    'anthropic-version': '2099-01-01',
    'anthropic-beta': 'of-the-future-2099-01-01,other',
    'x-of-the-future': 'yes',
    'user-agent': 'client/1',
    'x-api-key': 'of-the-caller',
    cookie: 'of-the-caller',
  };
  await app.post('/v1/messages?beta=true&x=%20y&x', REQUEST, headers);
  const { url, headers: up, method } = lastSent(app);
  expect([method, url.href]).toEqual(['POST', 'https://api.anthropic.com/v1/messages?beta=true&x=%20y&x']);
  expect(Object.fromEntries(up)).toMatchObject({
    'anthropic-version': '2099-01-01',
    'anthropic-beta': 'of-the-future-2099-01-01,other',
    'x-of-the-future': 'yes',
    'user-agent': 'client/1',
    'content-type': 'application/json',
    'x-api-key': TEST_KEY,
  });
  expect(JSON.stringify([...up])).not.toContain('of-the-caller');
  await app.post('/messages?a=1', REQUEST);
  expect(lastSent(app).url.href).toBe('https://api.anthropic.com/v1/messages?a=1');
  expect(lastSent(app).headers.get('anthropic-version')).toBe('2023-06-01');
  await app.post('/count-tokens?b', REQUEST);
  expect(lastSent(app).url.href).toBe('https://api.anthropic.com/v1/messages/count_tokens?b');
});

test('returns a non-streaming response unchanged with both request ids, and logs its usage', async () => {
  const text = `{ "type":"message","odd": 1e0, ${JSON.stringify(MESSAGE).slice(1)}`;
  const app = createTestApp(
    () =>
      new Response(text, {
        headers: { 'request-id': 'req_upstream', 'x-new': 'y', 'content-type': 'application/json' },
      }),
  );
  const response = await app.post('/v1/messages', REQUEST);
  expect(await response.text()).toBe(text);
  expect(Object.fromEntries(response.headers)).toMatchObject({
    'request-id': 'req_upstream',
    'x-new': 'y',
    'content-type': 'application/json',
  });
  const id = response.headers.get('sluice-request-id');
  expect(id).toMatch(/^req_/);
  // 1,000 × $1 + 10 × $0.10 + 100 × $5 a million.
  expect(await only(app)).toMatchObject({
    request_id: id,
    upstream_request_id: 'req_upstream',
    status: 200,
    model: 'claude-haiku-4-5-20251001',
    tokens: { input: 1_000, output: 100, cache_read: 10, cache_write: 0 },
    cost_usd: 0.001501,
  });
});

const COST = { 'sluice-stream-cost': 'true' };

test('returns a stream byte for byte with a cost comment after it, and headers that prevent proxy buffering', async () => {
  const app = createTestApp(() =>
    sse(createBody([TEXT_STREAM]), { 'cache-control': 'max-age=60', 'anthropic-ratelimit-requests-limit': '9' }),
  );
  const response = await app.post('/messages', REQUEST, COST);
  expect(Object.fromEntries(response.headers)).toMatchObject({
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
    'request-id': 'req_up',
    'sluice-request-id': expect.stringMatching(/^req_/),
  });
  expect(response.headers.has('anthropic-ratelimit-requests-limit')).toBe(false);
  // 25 uncached tokens, 2 and 10 written, 7 read, 15 of output, at Haiku 4.5's prices, × 1.1 for the geography.
  expect(await response.text()).toBe(`${TEXT_STREAM}: sluice-cost-usd=0.00013552\n`);
  const line = await only(app);
  expect(line).toMatchObject({
    status: 200,
    cost_usd: 0.00013552,
    tokens: { input: 25, output: 15, cache_read: 7, cache_write: 12 },
  });
  expect(line).not.toHaveProperty('error_type');
});

test('treats a stream without a final event as interrupted, even if it closes cleanly', async () => {
  for (const end of ['end', 'cut'] as const) {
    const app = createTestApp(() => sse(createBody([TEXT_STREAM.slice(0, 700)], end)));
    const response = await app.post('/messages', REQUEST);
    const text = await response.text();
    expect(text).toContain('\nevent: error\ndata: {"type":"error","error":{"type":"api_error"');
    expect(text).toContain(response.headers.get('sluice-request-id'));
    expect(text.endsWith('\n\n')).toBe(true);
    expect(await only(app)).toMatchObject({ status: 200, error_type: 'upstream_cut', tokens: { input: 25 } });
  }
});

test('adds nothing after an error event of the API', async () => {
  const stream = `${TEXT_STREAM.slice(0, TEXT_STREAM.indexOf('\n\n') + 2)}event: error\ndata: ${JSON.stringify(error('overloaded_error', 'Overloaded'))}\n\n`;
  const app = createTestApp(() => sse(createBody([stream])));
  expect(await (await app.post('/messages', REQUEST)).text()).toBe(stream);
  expect(await only(app)).toMatchObject({ error_type: 'overloaded_error' });
});

test('returns a 500 for a truncated or unrecognized non-streaming response', async () => {
  const text = JSON.stringify(MESSAGE);
  for (const [body, error_type] of [
    [() => createBody([text.slice(0, 50)], 'cut'), 'upstream_cut'],
    [() => createBody([text.slice(0, 50)]), 'upstream_cut'],
    [() => createBody([text], 'cut'), 'upstream_cut'],
    [() => createBody([]), 'upstream_no_answer'],
    [() => createBody(['<html>welcome</html>']), 'upstream_no_answer'],
  ] as const) {
    const app = once(() => new Response(body(), { headers: { 'content-type': 'application/json' } }));
    const response = await app.post('/v1/messages', REQUEST);
    expect(response.status).toBe(500);
    expect(await readError(response)).toMatchObject({ type: 'api_error' });
    expect(await only(app)).toMatchObject({ status: 500, error_type });
  }
});

test.each([401, 402, 403])('hides the upstream’s %i about the deployment behind a 500', async (status) => {
  // The operator is told by an alert, whose work has a line of its own.
  createWebhookWorks();
  const app = createTestApp(
    () =>
      json(error('authentication_error', `invalid key ${TEST_KEY} of Secret Org`), status, { 'x-org': 'Secret Org' }),
    // In development the caller is the operator.
    DEPLOYED_VARS,
  );
  const response = await app.post('/messages', REQUEST, bearerHeader(await createToken('somebody')));
  expect(response.status).toBe(500);
  expect(response.headers.get('x-should-retry')).toBe('false');
  expect(JSON.stringify([...response.headers])).not.toContain('Secret');
  const told = await readError(response);
  expect(told.type).toBe('api_error');
  expect(told.message).not.toMatch(/Secret|sk-ant|invalid key/);
  const line = await only(app);
  expect(line).toMatchObject({ status: 500, error_type: 'upstream_auth' });
  // The operator reads why, without the key.
  expect(line.upstream_said).toMatch(new RegExp(`^${status} authentication_error: invalid key .* of Secret Org$`));
  expect(JSON.stringify(line)).not.toContain(TEST_KEY);
  expect(app.sent).toHaveLength(1);
});

test.each([301, 302, 307, 308])('does not follow a redirect (%i), and hides its location', async (status) => {
  const app = createTestApp(() => new Response(null, { status, headers: { location: 'https://evil.test/' } }));
  const response = await app.post('/messages', REQUEST);
  expect(response.status).toBe(500);
  expect(response.headers.has('location')).toBe(false);
  expect(await readError(response)).toMatchObject({ type: 'api_error' });
  expect(app.sent).toHaveLength(1);
  expect(await only(app)).toMatchObject({ error_type: 'upstream_redirect' });
});

test.each([400, 404, 413])('returns the upstream’s %i unchanged', async (status) => {
  const text =
    '{ "type":"error", "error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum","details":{"x":1e0}} }';
  const app = createTestApp(
    () => new Response(text, { status, headers: { 'content-type': 'application/json', 'request-id': 'req_upstream' } }),
  );
  for (const path of ['/messages', '/count-tokens']) {
    const response = await app.post(path, REQUEST);
    expect(response.status).toBe(status);
    expect(await response.text()).toBe(text);
    expect(response.headers.get('request-id')).toBe('req_upstream');
  }
  expect(app.sent).toHaveLength(2);
});

test.each([
  [502, 'api_error'],
  [503, 'api_error'],
  [504, 'timeout_error'],
  [529, 'overloaded_error'],
  [413, 'request_too_large'],
  [404, 'not_found_error'],
  [418, 'invalid_request_error'],
])('replaces the HTML of a %i with an error of the type %s', async (status, type) => {
  const app = once(() => new Response('<html>nginx</html>', { status, headers: { 'content-type': 'text/html' } }));
  const response = await app.post('/messages', REQUEST);
  expect(response.status).toBe(status);
  expect(response.headers.get('content-type')).toMatch(/^application\/json/);
  const told = await readError(response);
  expect(told.type).toBe(type);
  expect(told.message).not.toContain('nginx');
});

test('returns a 429 with its retry-after, and names the upstream as the limiter', async () => {
  const app = createTestApp(() =>
    json(error('rate_limit_error', 'slow down'), 429, {
      'retry-after': '60',
      'anthropic-ratelimit-requests-remaining': '0',
    }),
  );
  const response = await app.post('/messages', REQUEST);
  expect(response.status).toBe(429);
  expect(response.headers.get('sluice-limited-by')).toBe('upstream');
  expect(response.headers.get('retry-after')).toBe('60');
  expect(response.headers.has('anthropic-ratelimit-requests-remaining')).toBe(false);
  expect(app.sent).toHaveLength(1);
  expect(await only(app)).toMatchObject({ limited_by: 'upstream', error_type: 'rate_limit_error' });
});

test('returns a 500 for an unreachable upstream, and shows the reason only in the log', async () => {
  const app = once(() => {
    throw new TypeError('getaddrinfo ENOTFOUND secret-host');
  });
  const response = await app.post('/messages', REQUEST);
  expect(response.status).toBe(500);
  expect((await readError(response)).message).not.toContain('secret-host');
  expect(await only(app)).toMatchObject({ error_type: expect.stringContaining('ENOTFOUND') });
});

test('adds the context window, the fit and the cost to a token count', async () => {
  const app = createTestApp(() => json({ input_tokens: 200_001, of_the_future: 1 }));
  const body = { model: 'claude-haiku-4-5', messages: REQUEST.messages };
  for (const path of ['/count-tokens', '/v1/messages/count_tokens']) {
    const response = await app.post(path, body);
    expect(await response.json()).toEqual({
      input_tokens: 200_001,
      of_the_future: 1,
      context_window: 200_000,
      fits: false,
      cost_usd: { input: 0.200001, cache_write_5m: 0.25000125, cache_write_1h: 0.400002, cache_read: 0.0200001 },
    });
    expect(response.headers.get('request-id')).toBe('req_upstream');
  }
  const unknown = await app.post('/count-tokens', { ...body, model: 'claude-of-the-future' });
  expect(await unknown.json()).toMatchObject({ context_window: null, fits: null, cost_usd: null });
});

test('announces an upcoming model retirement in the headers of each response', async () => {
  const app = createTestApp(({ text }) =>
    text.includes('"stream":true') ? sse(createBody([TEXT_STREAM])) : json(MESSAGE),
  );
  for (const path of ['/messages', '/v1/messages']) {
    const response = await app.post(path, { ...REQUEST, model: 'claude-sonnet-4-5' });
    expect(response.headers.get('sluice-model-retires')).toBe('2026-11-30T00:00:00Z');
    await response.text();
    const other = await app.post(path, REQUEST);
    expect(other.headers.has('sluice-model-retires')).toBe(false);
    await other.text();
  }
});

test('relays a body that is a transform stream of the runtime, in pieces of different sizes', async () => {
  const bytes = new TextEncoder().encode(TEXT_STREAM);
  for (const size of [bytes.length, 400, 37]) {
    const app = once(() => {
      const { readable, writable } = new IdentityTransformStream();
      void (async () => {
        const writer = writable.getWriter();
        for (let at = 0; at < bytes.length; at += size) await writer.write(bytes.subarray(at, at + size));
        await writer.close();
      })();
      return sse(readable);
    });
    const text = await (await app.post('/messages', REQUEST, COST)).text();
    expect(text.slice(0, TEXT_STREAM.length)).toBe(TEXT_STREAM);
    expect(text.slice(TEXT_STREAM.length)).toMatch(/^: sluice-cost-usd=/);
    await app.waitUntilSettled();
  }
});

test('does not time out a stream that keeps sending, even with a short STREAM_IDLE_MS', async () => {
  const SILENT_MS = 40;
  const pieces = TEXT_STREAM.split(/(?<=\n\n)/);
  const [first = '', ...following] = pieces;
  /** @returns a body of the network's: an abort breaks it off. */
  const slowBody = ({ signal }: SentRequest) => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const write = async () => {
      const writer = writable.getWriter();
      signal?.addEventListener('abort', () => void writer.abort(signal.reason).catch(() => {}), { once: true });
      await writer.write(encodeUtf8(first));
      // For longer than whoever watches for a silence waits, by whatever clock.
      let isOver = false;
      setTimeout(() => {
        isOver = true;
      }, 3 * SILENT_MS);
      while (!isOver) {
        await yieldToEventLoop();
        advanceClock(SILENT_MS / 8);
        await writer.write(encodeUtf8(': still here\n\n'));
      }
      await writer.write(encodeUtf8(following.join('')));
      await writer.close();
    };
    // Broken off.
    write().catch(() => {});
    return sse(readable);
  };
  // A busy machine may be silent itself for so long.
  stopClock();
  const app = createTestApp(slowBody, { UPSTREAM_MAX_RETRIES: '0', STREAM_IDLE_MS: String(SILENT_MS) });
  expect(await (await app.post('/messages', REQUEST)).text()).not.toContain('event: error');
});
