/** Long bodies: who may not ask is refused before one is read, and their memory is given back on every end. */
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { bodyMemory, IsolateBodyMemory } from '#edge/kit/http/body-memory.ts';
import type { Limits } from '#edge/money/budget/limits.schema.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { bindings, installSimulator } from '#test/support/conversations.ts';
import { waitForCondition } from '#test/support/eventually.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

const MB = 1_000_000;
const ASK = { model: 'claude-haiku-5-5', max_tokens: 20, stream: false };
const MESSAGE = { type: 'message', content: [], usage: { input_tokens: 1, output_tokens: 1 } };

let app: TestApp;
let answer: () => Response | Promise<Response>;
let headers: Record<string, string>;
beforeEach(async () => {
  answer = () => Response.json({ ...MESSAGE, input_tokens: 1 });
  app = createTestApp(() => answer(), DEPLOYED_VARS);
  const token = await createToken('alice', ['messages', 'prefixes', 'classify']);
  headers = { ...bearerHeader(token), 'content-type': 'application/json' };
});
afterEach(async () => {
  await app.waitUntilSettled();
  expect({ ...bodyMemory }).toEqual({ ...new IsolateBodyMemory() });
  await resetAll();
});

const longBody = (bytes: number, more: object = {}) =>
  JSON.stringify({ ...ASK, ...more, messages: [{ role: 'user', content: `🌊${'x'.repeat(bytes)}` }] });
const limit = async (limits: Limits) => await getAccountStub(bindings, {}, 'alice').setLimits(limits);

/** A body of which nothing comes until it is asked for. */
function unread(declared?: number) {
  let pulled = 0;
  const body = new ReadableStream({
    type: 'bytes',
    pull(controller) {
      pulled += 1;
      controller.enqueue(new Uint8Array(50_000).fill(32));
      if (pulled > 40) controller.close();
    },
  });
  const length: Record<string, string> = declared === undefined ? {} : { 'content-length': String(declared) };
  return { body, length, pulled: () => pulled };
}

test.each([
  ['/v1/messages', { usd_per_day: 0 }, 'billing_error'],
  ['/v1/messages', { requests_per_minute: 0 }, 'rate_limit_error'],
  ['/v1/messages', { concurrent_requests: 0 }, 'rate_limit_error'],
  ['/v1/messages/count_tokens', { count_requests_per_minute: 0 }, 'rate_limit_error'],
  ['/conversations', { requests_per_minute: 0 }, 'rate_limit_error'],
  ['/classify', { usd_per_month: 0 }, 'billing_error'],
] as const)('%s rejects an account with the limit %o before it reads a long body', async (path, limits, type) => {
  await limit(limits);
  const { body, pulled } = unread();
  const refused = await app.fetch(path, { method: 'POST', headers, body });
  expect([refused.status, (await readError(refused)).type]).toEqual([429, type]);
  // It has no length: so much had to come before it was long.
  expect(pulled()).toBeLessThan(10);
});

/** Short as a body, but with more messages than are looked at for nobody. */
const MANY = [{ role: 'user', content: 'Hi' }, ...Array(4_000).fill({ role: 'assistant', content: 'ok' })];

test.each([
  ['/v1/messages', { usd_per_day: 0 }, 'billing_error'],
  ['/v1/messages', { concurrent_requests: 0 }, 'rate_limit_error'],
] as const)(
  '%s rejects an account with the limit %o before it validates the messages of a turn',
  async (path, limits, type) => {
    // Its object has the settings of a deployment, too.
    installSimulator();
    const ask = () => app.post(path, { ...ASK, conversation: 'c', messages: MANY }, headers);
    expect(await readError(await ask())).toMatchObject({
      message: expect.stringContaining('follows another assistant message'),
    });
    await limit(limits);
    const refused = await ask();
    expect([refused.status, (await readError(refused)).type]).toEqual([429, type]);
  },
);

test('rejects a revoked token before it reads a long body', async () => {
  await getAccountStub(bindings, {}, 'alice').revokeAllTokens();
  const { body, pulled } = unread();
  const refused = await app.fetch('/v1/messages', { method: 'POST', headers, body });
  expect(refused.status).toBe(401);
  expect(pulled()).toBeLessThan(10);
});

test('does not count the check before a long body against the rate limits', async () => {
  await limit({ requests_per_minute: 1, count_requests_per_minute: 1 });
  const post = (path: string) => app.fetch(path, { method: 'POST', headers, body: longBody(MB) });
  expect((await post('/v1/messages')).status).toBe(200);
  expect((await post('/v1/messages/count_tokens')).status).toBe(200);
  expect((await post('/v1/messages')).status).toBe(429);
  expect((await post('/v1/messages/count_tokens')).status).toBe(429);
});

test('forwards a long body unchanged, or with only `stream` added', async () => {
  const body = longBody(3 * MB, { note: 'é"\\' });
  expect((await app.fetch('/v1/messages', { method: 'POST', headers, body })).status).toBe(200);
  expect(app.sent.at(-1)?.text === body).toBe(true);
  const open = body.replace('"stream":false,', '');
  answer = () => new Response('', { headers: { 'content-type': 'text/event-stream' } });
  await (await app.fetch('/messages', { method: 'POST', headers, body: open })).text();
  expect(app.sent.at(-1)?.text === open.replace('{', '{"stream":true,')).toBe(true);
});

test('sends a changed long body again after the upstream has failed', async () => {
  let tries = 0;
  answer = () => {
    tries += 1;
    // In the API's own form it is certain that nothing has run, however long it took.
    const error = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
    return tries < 2 ? Response.json(error, { status: 529, headers: { 'retry-after': '0' } }) : Response.json(MESSAGE);
  };
  const body = longBody(2 * MB).replace('"max_tokens":20', '"max_tokens":20,"max_tokens":20');
  expect((await app.fetch('/v1/messages', { method: 'POST', headers, body })).status).toBe(200);
  expect(app.sent.map(({ text }) => text.length)).toEqual([longBody(2 * MB).length, longBody(2 * MB).length]);
});

test('computes the maximum cost of an image regardless of its bytes', async () => {
  await limit({ usd_per_day: 1 });
  const source = { type: 'base64', media_type: 'image/png', data: 'A'.repeat(4 * MB) };
  const body = JSON.stringify({ ...ASK, messages: [{ role: 'user', content: [{ type: 'image', source }] }] });
  expect((await app.fetch('/v1/messages', { method: 'POST', headers, body })).status).toBe(200);
  expect(app.sent).toHaveLength(1);
});

test('returns 503 with Retry-After for a body that does not fit in memory until others are done', async () => {
  let go: () => void = () => {};
  const answered = new Promise<void>((resolve) => {
    go = resolve;
  });
  answer = async () => {
    await answered;
    return Response.json(MESSAGE);
  };
  const post = () => app.fetch('/v1/messages', { method: 'POST', headers, body: longBody(25 * MB) });
  const first = post();
  await waitForCondition(() => app.sent.length > 0);
  const second = await post();
  expect([second.status, second.headers.get('retry-after')]).toEqual([503, '2']);
  expect(await readError(second)).toMatchObject({ type: 'api_error' });
  const short = app.fetch('/v1/messages', { method: 'POST', headers, body: longBody(100) });
  go();
  expect((await first).status).toBe(200);
  expect((await short).status).toBe(200);
  expect((await post()).status).toBe(200);
});

test('releases the memory of a body for every end of its request', async () => {
  const ends = {
    answered: () => {},
    refused: () => {
      answer = () => Response.json({ type: 'error', error: { type: 'invalid_request_error' } }, { status: 400 });
    },
    throws: () => {
      answer = () => {
        throw new Error('broken');
      };
    },
  };
  const bodies = {
    whole: () => longBody(400_000),
    unfinished: () => longBody(400_000).slice(0, -1),
    deep: () => `${'['.repeat(300_000)}`,
    wrong: () => JSON.stringify({ x: 'y'.repeat(400_000) }),
    breaksOff: () =>
      new ReadableStream({
        start(controller) {
          controller.enqueue(new TextEncoder().encode(longBody(400_000)));
        },
        pull(controller) {
          controller.error(new Error('gone'));
        },
      }),
  };
  const paths = ['/v1/messages', '/messages', '/count-tokens', '/classify', '/conversations', '/webhooks/github'];
  await tryAsyncCases(
    25,
    fc.constantFrom(...paths),
    fc.constantFrom(...(Object.keys(ends) as (keyof typeof ends)[])),
    fc.constantFrom(...(Object.keys(bodies) as (keyof typeof bodies)[])),
    async (path, end, body) => {
      ends[end]();
      const sent = { ...headers, 'sluice-simulate': '', 'x-stainless-retry-count': '0' };
      const response = await app.fetch(path, { method: 'POST', headers: sent, body: bodies[body]() });
      await response.arrayBuffer();
      expect({ ...bodyMemory }).toEqual({ ...new IsolateBodyMemory() });
    },
  );
}, 60_000);
