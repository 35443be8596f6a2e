import { abortAllDurableObjects } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { MINUTE_MS } from '#edge/kit/async/durations.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import type { AdmissionRequest } from '#edge/money/contracts/admission.ts';
import { requestEdge } from '#test/support/agents.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { ROUTES } from '#test/support/routes.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { countBindingCalls } from '#test/support/visitors.ts';
import { admitAt, NOON } from '../account/admission-requests.ts';
import { smallEdge } from '../account/small-edge.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
afterEach(() => void vi.useRealTimers());

const wait = (ms: number) => vi.setSystemTime(Date.now() + ms);
const bound = async () => bearerHeader(await createToken('bob', ['messages'], { only: { agents: ['sky'] } }));

/** @returns the statuses of so many reads. */
async function readsOf(app: TestApp, path: string, headers: Record<string, string>, times: number): Promise<number[]> {
  const statuses: number[] = [];
  for (let at = 0; at < times; at += 1) {
    const response = await app.fetch(path, { headers });
    await response.body?.cancel();
    statuses.push(response.status);
  }
  return statuses;
}

/** An edge where a restricted token may read four times in a minute, another one six times. */
async function edge(vars: Record<string, unknown> = {}): Promise<TestApp> {
  const app = smallEdge({ BOUND_READS_PER_MINUTE: '4', READS_PER_MINUTE: '6', ...vars });
  const root = bearerHeader(await createToken('root', ['admin']));
  const agent = { model: 'claude-opus-5-5', max_tokens: 64 };
  expect((await requestEdge(app, 'PUT', '/agents/sky', root, agent)).status).toBe(200);
  return app;
}
const MESSAGES = '/conversations/c1/messages?if_absent=empty';
const STREAM = '/conversations/c1/stream?if_absent=empty';

test('limits the reads per minute of restricted tokens, and returns Retry-After without calling the conversation', async () => {
  const { bindings, calls } = countBindingCalls();
  const app = await edge(bindings);
  const [page, another, third] = [await bound(), await bound(), await bound()];
  const before = calls();
  for (const token of [page, another, third, page]) expect(await readsOf(app, MESSAGES, token, 1)).toEqual([200]);
  // One of the account and one of the conversation.
  expect(calls() - before).toBe(8);
  const refused = await app.fetch(MESSAGES, { headers: page });
  expect(calls() - before).toBe(9);
  expect(Object.fromEntries(refused.headers)).toMatchObject({ 'sluice-limited-by': 'account', 'retry-after': '15' });
  expect([refused.status, await readError(refused)]).toMatchObject([
    429,
    {
      type: 'rate_limit_error',
      message:
        'This account sends too many requests to routes that call no model (its limit `reads_per_minute`). Try again in 15 s.',
    },
  ]);
  // Whatever the account answers is counted, but not what it is asked beside an admission.
  expect((await app.fetch(MESSAGES, { method: 'HEAD', headers: page })).status).toBe(429);
  expect((await requestEdge(app, 'POST', '/messages', page, { agent: 'sky', messages: 'none' })).status).toBe(400);
  // A page does not stop its account's server, nor another account.
  expect(await readsOf(app, MESSAGES, bearerHeader(await createToken('bob', ['messages'])), 1)).toEqual([200]);
  const other = bearerHeader(await createToken('eve', ['messages'], { only: { agents: ['sky'] } }));
  expect(await readsOf(app, MESSAGES, other, 1)).toEqual([200]);
  wait(14_000);
  expect(await readsOf(app, MESSAGES, page, 1)).toEqual([429]);
  wait(1_000);
  expect(await readsOf(app, MESSAGES, page, 2)).toEqual([200, 429]);
  wait(MINUTE_MS);
  expect(await readsOf(app, MESSAGES, page, 5)).toEqual([200, 200, 200, 200, 429]);
  // It is in memory alone.
  await abortAllDurableObjects();
  expect(await readsOf(app, MESSAGES, page, 1)).toEqual([200]);
});

test('allows an unrestricted token more reads and an admin any number, and rejects a revoked token', async () => {
  const app = await edge();
  const own = bearerHeader(await createToken('ann', ['messages']));
  expect(await readsOf(app, '/conversations', own, 7)).toEqual([200, 200, 200, 200, 200, 200, 429]);
  // Whatever it reads.
  expect(await readsOf(app, '/usage', own, 1)).toEqual([429]);
  const root = bearerHeader(await createToken('ann', ['admin']));
  expect(new Set(await readsOf(app, '/conversations', root, 20))).toEqual(new Set([200]));
  const jti = 'jti-of-eve';
  const eve = bearerHeader(
    await createToken('eve', ['messages'], { renews: { jti, issuedAt: Math.floor(Date.now() / 1_000) } }),
  );
  expect(await readsOf(app, '/conversations', eve, 7)).toEqual([200, 200, 200, 200, 200, 200, 429]);
  expect((await app.fetch(`/accounts/eve/tokens/${jti}`, { method: 'DELETE', headers: root })).status).toBe(200);
  expect(await readsOf(app, '/conversations', eve, 1)).toEqual([401]);
});

test('counts resuming a stream as one read, including up to three resumptions within the next five seconds', async () => {
  const app = await edge();
  const page = await bound();
  expect(await readsOf(app, STREAM, page, 4)).toEqual([204, 204, 204, 204]);
  expect(await readsOf(app, MESSAGES, page, 3)).toEqual([200, 200, 200]);
  // Nothing is left. What it may do again, it has done.
  expect(await readsOf(app, STREAM, page, 1)).toEqual([429]);
  wait(15_000);
  expect(await readsOf(app, STREAM, page, 2)).toEqual([204, 204]);
  // Another stream is not the same one.
  expect(await readsOf(app, STREAM.replace('c1', 'c2'), page, 1)).toEqual([429]);
  wait(4_999);
  expect(await readsOf(app, STREAM, page, 1)).toEqual([204]);
  wait(1);
  expect(await readsOf(app, STREAM, page, 1)).toEqual([429]);
});

/** Routes that end spending or access. A new route of this kind must state `endsSpending`. */
const ENDING_ROUTES = ROUTES.filter(
  ({ method, path }) =>
    method === 'DELETE' || /^POST .*\/(cancel|stop|renew|revoke)$|^PUT .*\/block$/.test(`${method} ${path}`),
);

test('never rejects a request that ends spending or access because of a limit on other requests', async () => {
  const app = await edge({ READS_PER_MINUTE: '1', BOUND_READS_PER_MINUTE: '1' });
  const root = bearerHeader(await createToken('root', ['admin']));
  const limits = { requests_per_minute: 0, usd_total: 0, conversations: 0 };
  expect((await requestEdge(app, 'PUT', '/accounts/bob/limits', root, limits)).status).toBe(200);
  const server = bearerHeader(await createToken('bob', ['messages', 'classify', 'prefixes']));
  const page = await bound();
  for (const headers of [server, page]) expect(await readsOf(app, MESSAGES, headers, 2)).toEqual([200, 429]);
  expect(ENDING_ROUTES.length).toBeGreaterThan(12);
  for (const { method, path, url } of ROUTES) {
    const response = await app.fetch(url, { method, headers: { ...server, 'content-type': 'application/json' } });
    await response.body?.cancel();
    const isEnding = ENDING_ROUTES.some((one) => one.method === method && one.path === path);
    const isCounted = !(method === 'POST' && /messages$|count.tokens$/.test(path));
    expect(`${method} ${path} ${response.status === 429}`).toBe(`${method} ${path} ${!isEnding && isCounted}`);
  }
  const [statuses, expected] = [new Set<string>(), new Set<string>()];
  for (let at = 0; at < 250; at += 1) {
    const turn = `/conversations/c1/turns/turn-${at}`;
    const requests = [
      ['POST', '/conversations/c1/stop', page, 404],
      ['POST', '/classifications/msgbatch_1/cancel', server, 404],
      ['DELETE', turn, server, 404],
      ['DELETE', `/accounts/bob/tokens/jti-${at}`, root, 200],
    ] as const;
    for (const [method, path, headers, status] of requests) {
      const response = await app.fetch(path, { method, headers });
      await response.body?.cancel();
      statuses.add(`${method} ${path.replaceAll(/\d+$/g, '')} ${response.status}`);
      expected.add(`${method} ${path.replaceAll(/\d+$/g, '')} ${status}`);
    }
  }
  expect(statuses).toEqual(expected);
});

test('limits the renewals of each token, whatever other requests the account sends', async () => {
  const app = await edge({ READS_PER_MINUTE: '1' });
  const session = async (jti: string) => {
    const issuedAt = Math.floor(Date.now() / 1_000);
    const session = { end: issuedAt + 3_600, seconds: 600 };
    return bearerHeader(await createToken('ann', ['messages'], { renews: { jti, issuedAt }, session }));
  };
  const [first, second] = [await session('one'), await session('two')];
  expect(await readsOf(app, '/usage', first, 2)).toEqual([200, 429]);
  const renew = (headers: Record<string, string>) => app.fetch('/tokens/renew', { method: 'POST', headers });
  for (let at = 0; at < 60; at += 1) expect((await renew(first)).status).toBe(201);
  const rejected = await renew(first);
  expect([rejected.status, rejected.headers.get('sluice-limited-by'), rejected.headers.get('retry-after')]).toEqual([
    429,
    'token',
    '1',
  ]);
  expect((await readError(rejected)).message).toMatch(
    /^This request would exceed this token's limit renewals_per_minute/,
  );
  expect((await renew(second)).status).toBe(201);
});

/** A conversation of two million bytes, as it tells its account. */
const LONG = {
  id: 'long',
  version: 1,
  createdAt: NOON,
  updatedAt: NOON,
  title: null,
  turns: 1,
  messages: 2,
  bytes: 2_000_000,
  cost: 0,
  paused: null,
  gone: false,
};

test('counts the reads of callers that the Worker authenticates without a token', async () => {
  const authenticate = (request: Request) => ({ account: request.headers.get('sluice-user') ?? 'nobody' });
  const app = createTestApp(
    () => Response.json({}),
    { ...DEPLOYED_VARS, READS_PER_MINUTE: '2' },
    { options: { authenticate } },
  );
  expect(await readsOf(app, '/usage', { 'sluice-user': 'ann' }, 3)).toEqual([200, 200, 429]);
  expect(await readsOf(app, '/usage', { 'sluice-user': 'bob' }, 1)).toEqual([200]);
});

test('counts each read of a conversation whose ID is `stream`', async () => {
  const app = await edge();
  const own = bearerHeader(await createToken('ann', ['messages']));
  expect(await readsOf(app, '/conversations/stream', own, 7)).toEqual([404, 404, 404, 404, 404, 404, 429]);
});

test('limits what visitors create and copy to five million bytes per minute', async () => {
  vi.setSystemTime(NOON);
  smallEdge();
  const accounts = (env as unknown as Bindings).ACCOUNT as unknown as DurableObjectNamespace<Account>;
  const decide = async (name: string, defaults: AdmissionRequest['defaults'], storing: object) => {
    const stub = accounts.get(accounts.idFromName(name)) as unknown as Parameters<typeof admitAt>[0] & Account;
    await stub.noteConversation(LONG);
    const request = { requestId: '', route: '', model: '', defaults, free: { storing } } as AdmissionRequest;
    const decision = await admitAt(stub, request);
    return decision.outcome === 'refused' ? decision.refusal : decision.outcome;
  };
  const visitor = `visitor:${'a'.repeat(32)}`;
  const fork = (id: string) => ({ conversation: id, bytes: 0, copyOf: 'long' });
  expect(await decide(visitor, {}, fork('c1'))).toBe('admitted');
  expect(await decide(visitor, {}, fork('c2'))).toBe('admitted');
  const refused = { reason: 'rate', by: 'account', limit: 'copied_bytes_per_minute', retryAfter: 12, never: false };
  expect(await decide(visitor, {}, fork('c3'))).toMatchObject(refused);
  // A small one still fits, and one that is larger than all of it never does.
  expect(await decide(visitor, {}, { conversation: 'c4', bytes: 900_000 })).toBe('admitted');
  expect(await decide(visitor, {}, { conversation: 'c5', bytes: 5_000_001 })).toMatchObject({ never: true });
  wait(24_000);
  expect(await decide(visitor, {}, fork('c3'))).toBe('admitted');
  // Nor is what has not told its size yet copied for nothing.
  const other = `visitor:${'c'.repeat(32)}`;
  expect(await decide(other, {}, { conversation: 'new', bytes: 3_000_000 })).toBe('admitted');
  expect(await decide(other, {}, { conversation: 'c1', bytes: 0, copyOf: 'new' })).toMatchObject({
    ...refused,
    retryAfter: 12,
  });
  expect(await decide(visitor, {}, fork('c6'))).toMatchObject({ retryAfter: 23 });
  // A request that is refused copies nothing, and another account has no such limit.
  const one = `visitor:${'b'.repeat(32)}`;
  expect(await decide(one, { requests_per_minute: 1 }, fork('c1'))).toBe('admitted');
  expect(await decide(one, { requests_per_minute: 1 }, fork('c2'))).toMatchObject({ limit: 'requests_per_minute' });
  expect(await decide(one, {}, fork('c3'))).toBe('admitted');
  for (const id of ['c1', 'c2', 'c3', 'c4']) expect(await decide('ann', {}, fork(id))).toBe('admitted');
});
