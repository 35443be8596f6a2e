import { beforeEach, expect, test } from 'vitest';
import { type RequestMessageOptions, requestWholeMessage } from '#edge/claude/request-message.ts';
import type { Upstream } from '#edge/claude/upstream.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { createBody } from '#test/support/app.ts';
import { advanceClock, stopClock } from '#test/support/calendar.ts';
import { waitForCondition } from '#test/support/eventually.ts';

// How soon something fails says whether it has run: a busy machine must not.
beforeEach(stopClock);

const MESSAGE = {
  type: 'message',
  model: 'm',
  content: [],
  stop_reason: 'end_turn',
  usage: { input_tokens: 3, output_tokens: 4 },
};
const BODY = new TextEncoder().encode('{"model":"m","max_tokens":1,"messages":[]}');
const failure = (status: number, headers: Record<string, string> = {}) =>
  Response.json(
    { type: 'error', error: { type: 'some_error', message: 'In the upstream’s words.' } },
    { status, headers },
  );

interface Seen {
  url: string;
  headers: Headers;
  body: unknown;
}

function call(
  answer: (nth: number, signal: AbortSignal) => Response | Promise<Response>,
  vars: Record<string, string> = {},
) {
  const seen: Seen[] = [];
  const upstream: Upstream = {
    baseURL: 'https://upstream.example.com/base',
    apiKey: 'sk-ant-the-key',
    isSimulated: false,
    fetch: async (url, init) => {
      seen.push({ url, headers: new Headers(init.headers), body: init.body });
      init.signal?.throwIfAborted();
      const aborted = new Promise<never>((_, reject) => {
        init.signal?.addEventListener('abort', () => reject(init.signal?.reason));
      });
      return await Promise.race([answer(seen.length - 1, init.signal as AbortSignal), aborted]);
    },
  };
  const settings = parseSettings({ ...vars }, true);
  const ask = (more: Partial<RequestMessageOptions> = {}) =>
    requestWholeMessage(() => BODY, { upstream, settings, ...more });
  return { seen, ask };
}

test('requests a message with only the deployment’s key and the API’s version', async () => {
  const { ask, seen } = call(() => Response.json(MESSAGE, { headers: { 'request-id': 'req_up' } }));
  const { message, outcome, error } = await ask({ simulate: 'status=500' });
  expect(error).toBeUndefined();
  expect(message).toEqual(MESSAGE);
  expect(outcome).toMatchObject({
    end: 'complete',
    completed: true,
    status: 200,
    usage: MESSAGE.usage,
    upstream_request_id: 'req_up',
    sent: true,
  });
  expect(seen).toHaveLength(1);
  const { url, headers, body } = seen[0] as Seen;
  expect(url).toBe('https://upstream.example.com/base/v1/messages');
  expect(body).toBe(BODY);
  expect(headers.get('x-api-key')).toBe('sk-ant-the-key');
  expect(headers.has('authorization')).toBe(false);
  expect(headers.get('anthropic-version')).toBe('2026-10-21');
  expect(headers.has('sluice-simulate')).toBe(false);
});

test('retries transient failures up to UPSTREAM_MAX_RETRIES times, and no other failures', async () => {
  const flaky = call((nth) => (nth < 2 ? failure(529, { 'retry-after-ms': '1' }) : Response.json(MESSAGE)));
  expect((await flaky.ask()).message).toEqual(MESSAGE);
  expect(flaky.seen).toHaveLength(3);
  const down = call(() => failure(500, { 'retry-after-ms': '1' }), { UPSTREAM_MAX_RETRIES: '1' });
  const { outcome, error } = await down.ask();
  expect(down.seen).toHaveLength(2);
  expect(outcome).toMatchObject({ end: 'error', status: 500, completed: false });
  expect(error).toMatchObject({ type: 'api_error', message: 'In the upstream’s words.' });
  for (const status of [400, 401, 403, 404, 413]) {
    const refused = call(() => failure(status));
    expect((await refused.ask()).outcome.status).toBe(status);
    expect(refused.seen).toHaveLength(1);
  }
});

test('returns a long retry-after to the caller instead of waiting', async () => {
  const { ask, seen } = call(() => failure(429, { 'retry-after': '3600' }));
  const { error } = await ask();
  expect(seen).toHaveLength(1);
  expect(error).toMatchObject({
    type: 'rate_limit_error',
    headers: { 'retry-after': '3600', 'sluice-limited-by': 'upstream' },
  });
});

test('retries a failed connection, and then reports the request as not sent', async () => {
  const { ask, seen } = call(() => Promise.reject(new TypeError('connection refused')), { UPSTREAM_MAX_RETRIES: '1' });
  const { outcome, error } = await ask();
  expect(seen).toHaveLength(2);
  expect(error?.logged).toBe('upstream_unreachable: connection refused');
  expect(outcome).toMatchObject({
    end: 'cut',
    status: undefined,
    error_type: 'upstream_unreachable: connection refused',
    sent: false,
  });
});

test('times out after UPSTREAM_TIMEOUT_MS, retries included, if the upstream never responds', async () => {
  const waiting = () => {
    advanceClock(60);
    return new Promise<Response>(() => {});
  };
  const { ask, seen } = call(waiting, { UPSTREAM_TIMEOUT_MS: '60' });
  const { error, outcome } = await ask();
  expect(error).toMatchObject({ type: 'timeout_error', logged: 'upstream_timeout' });
  expect(outcome).toMatchObject({ end: 'cut', sent: true, seen: { unseen_ms: expect.any(Number) } });
  expect(outcome.seen?.unseen_ms).toBeGreaterThanOrEqual(60);
  expect(seen).toHaveLength(1);
});

test('treats a truncated response as an error that may have been billed', async () => {
  for (const body of [
    createBody(['{"type":"mess'], 'cut'),
    createBody([JSON.stringify(MESSAGE)], 'cut'),
    '{"type":"mess',
  ]) {
    const { ask, seen } = call(() => new Response(body, { status: 200 }));
    const { message, error, outcome } = await ask();
    expect(message).toBeUndefined();
    expect(error).toMatchObject({ type: 'api_error', logged: 'upstream_cut' });
    expect(outcome).toMatchObject({ end: 'cut', completed: false, status: 200, sent: true });
    expect(seen).toHaveLength(1);
  }
});

test.each<[string, Record<string, string>, string]>([
  ['without content-encoding', {}, 'upstream_no_answer'],
  ['with content-encoding', { 'content-encoding': 'zstd' }, 'upstream_encoding: zstd'],
])('settles an unreadable compressed response by its duration: %s', async (_, headers, logged) => {
  const zstd = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x91, 0x01, 0x00, 0x7b, 0xc3, 0xa7);
  const { ask } = call(() => {
    advanceClock(60);
    return new Response(zstd, { headers, encodeBody: 'manual' });
  });
  const { message, error, outcome } = await ask();
  expect(message).toBeUndefined();
  expect(error).toMatchObject({ type: 'api_error', logged });
  expect(outcome).toMatchObject({ end: 'cut', completed: false, sent: true, seen: { unseen_ms: 60 } });
});

test('treats a response in a format other than the API’s as an unbilled error', async () => {
  for (const body of ['[]', '<html>', '', '{}', '7', '{"input_tokens":3}']) {
    const { ask } = call(() => new Response(body, { status: 200 }));
    const { message, error, outcome } = await ask();
    expect(message).toBeUndefined();
    expect(error).toMatchObject({ type: 'api_error', logged: 'upstream_no_answer' });
    expect(outcome).toMatchObject({ end: 'error', completed: false, status: 200, sent: false });
  }
});

test('treats an error body with status 200 as that error, at no cost', async () => {
  for (const [type, status, words] of [
    ['overloaded_error', 529, 'Words.'],
    // The upstream's own words speak of the operator's limits.
    ['rate_limit_error', 429, 'The upstream limits the requests of this deployment at the moment.'],
    ['of_the_future', 500, 'Words.'],
  ] as const) {
    const { ask } = call(() => Response.json({ type: 'error', error: { type, message: 'Words.' } }));
    const { message, error, outcome } = await ask();
    expect(message).toBeUndefined();
    expect(error).toMatchObject({ status, message: expect.stringContaining(words) });
    expect(outcome).toMatchObject({ end: 'error', completed: false, status: 200, sent: false });
  }
});

test('does not follow a redirect, which would receive the key', async () => {
  const { ask, seen } = call(
    () => new Response(null, { status: 307, headers: { location: 'https://elsewhere.example.com' } }),
  );
  const { error } = await ask();
  expect(error?.logged).toBe('upstream_redirect');
  expect(seen).toHaveLength(1);
});

test('aborts the call when the caller disconnects, and sends none after an earlier disconnection', async () => {
  const leaving = new AbortController();
  const { ask, seen } = call(() => new Promise(() => {}));
  const asked = ask({ signal: leaving.signal });
  await waitForCondition(() => seen.length > 0);
  leaving.abort();
  expect((await asked).outcome).toMatchObject({ end: 'client_gone', sent: true });
  expect((await ask({ signal: leaving.signal })).outcome).toMatchObject({ end: 'client_gone', sent: false });
  expect(seen).toHaveLength(1);
});

test('prices a complete response by its reported usage, not by an estimate', async () => {
  const whole = { type: 'message', content: [], stop_reason: 'end_turn', usage: { input_tokens: 1, output_tokens: 2 } };
  const { outcome } = await call(() => Response.json(whole)).ask();
  expect(outcome).toMatchObject({ end: 'complete', completed: true, sent: true });
  expect(outcome.seen).toBeUndefined();
});
