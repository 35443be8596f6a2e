import { runInDurableObject } from 'cloudflare:test';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Account } from '#edge/money/account/account.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { advanceClock } from '#test/support/calendar.ts';
import { bindings, installSimulator } from '#test/support/conversations.ts';
import { resetAll } from '#test/support/reset.ts';
import { MODEL, SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { settleAt } from '../money/account/admission-requests.ts';

const DAY = 86_400_000;
const FIRST = { model: MODEL, max_tokens: 200, stream: false };
const PREFIX = { system: 'You are brief.', model: 'claude-haiku-5-5', max_tokens: 20 };
let app: TestApp;
beforeEach(() => {
  installSimulator();
  app = appWith({ DEPLOYMENT_LIMITS: '{}' });
});

const appWith = (vars: object) =>
  createTestApp(
    ({ url }) => Response.json(url.pathname.endsWith('count_tokens') ? { input_tokens: 9 } : SMALL_MESSAGE),
    {
      ...DEPLOYED_VARS,
      ...vars,
    },
  );

async function call(method: string, path: string, body?: unknown, by?: string): Promise<Response> {
  const lines = typeof body === 'string';
  return await app.fetch(path, {
    method,
    headers: {
      ...bearerHeader(by ?? (await createToken('root', ['admin']))),
      ...(body === undefined ? {} : { 'content-type': lines ? 'application/jsonl' : 'application/json' }),
    },
    ...(body === undefined ? {} : { body: lines ? body : JSON.stringify(body) }),
  });
}
const put = (path: string, body: unknown) => call('PUT', path, body);
const read = async (path: string) => (await (await call('GET', path)).json()) as Record<string, unknown>;
const ask = (by: string, more: object = {}) =>
  call('POST', '/messages', { ...FIRST, messages: [{ role: 'user', content: 'Hi' }], ...more }, by);

const ring = (account: string) =>
  runInDurableObject(getAccountStub(bindings, {}, account), async (object: Account) => await object.alarm());

/** Continues in another deployment: it contains nothing of this one. */
async function elsewhere(): Promise<void> {
  await app.waitUntilSettled();
  await resetAll();
  installSimulator();
}

/** Erases an account, and waits until that is done. @returns when it was erased */
async function erase(account: string): Promise<string> {
  await call('DELETE', `/accounts/${account}`);
  await vi.waitFor(async () => {
    await ring(account);
    expect(await (await call('DELETE', `/accounts/${account}`)).json()).toMatchObject({ done: true });
  });
  const { data } = (await read('/erasures')) as { data: { account: string; erased_at: string }[] };
  return data.find((erasure) => erasure.account === account)?.erased_at ?? '';
}

const spent = async (account: string, day: number, cost: number, requestId: string) =>
  await settleAt(getAccountStub(bindings, {}, account), {
    requestId,
    status: 'complete',
    cost,
    startedAt: Date.now() - day * DAY,
    tokens: { input: 5 },
    admittedFields: { route: 'messages', model: 'claude-haiku-5-5' },
  });

describe('the budget of a group', () => {
  test('is restored with its alerts and spending, and counts the spending once if the restore is repeated', async () => {
    await put('/groups/red/limits', { usd_per_day: 0.02, alerts: [0.5] });
    await put('/groups/red/accounts/alice', {});
    expect((await ask(await createToken('alice'))).status).toBe(200);
    await app.waitUntilSettled();
    await vi.waitFor(async () => {
      await getAccountStub(bindings, {}, 'alice').reportSpendingToPool('group:red');
      expect(((await read('/groups/red')).day as { spent_usd: number }).spent_usd).toBeGreaterThan(0);
    });
    const before = await read('/groups/red');
    const backup = await read('/groups/red/backup');
    expect(backup).toMatchObject({ type: 'group_backup', id: 'red', limits: { usd_per_day: 0.02, alerts: [0.5] } });
    // Where the backup was made, the sums are there already.
    expect((await put('/groups/red/backup', backup)).status).toBe(200);
    expect((await read('/groups/red')).total).toMatchObject({
      spent_usd: (before.total as { spent_usd: number }).spent_usd,
    });
    await elsewhere();

    for (let time = 0; time < 2; time += 1) {
      expect((await put('/groups/red/backup', backup)).status).toBe(200);
      const after = await read('/groups/red');
      expect(after.limits).toEqual(before.limits);
      for (const window of ['day', 'month', 'total'])
        expect((after[window] as object & { spent_usd: number }).spent_usd, window).toBe(
          (before[window] as { spent_usd: number }).spent_usd,
        );
    }
    expect(await read('/groups')).toMatchObject({ data: [{ id: 'red' }] });
    expect((await put('/groups/blue/backup', backup)).status).toBe(400);
  });

  test('is not restored over different limits', async () => {
    await put('/groups/red/limits', { usd_per_day: 1 });
    const backup = await read('/groups/red/backup');
    await elsewhere();
    await put('/groups/red/limits', { usd_per_day: 0.5 });
    const answer = await put('/groups/red/backup', backup);
    expect(answer.status).toBe(409);
    expect((await readError(answer)).message).toContain('already has other limits');
    expect(await read('/groups/red')).toMatchObject({ limits: { usd_per_day: 0.5 } });
  });
});

describe('the budget of the deployment', () => {
  test('is restored with its alerts, and with the spending of erased accounts', async () => {
    await put('/pools/deployment/limits', { usd_per_day: 3, alerts: [0.8] });
    expect((await ask(await createToken('alice'))).status).toBe(200);
    await app.waitUntilSettled();
    await erase('alice');
    await vi.waitFor(async () => {
      await ring('alice');
      expect(((await read('/pools/deployment')).day as { spent_usd: number }).spent_usd).toBeGreaterThan(0);
    });
    const before = await read('/pools/deployment');
    const backup = await read('/pools/deployment/backup');
    await elsewhere();
    expect((await put('/pools/deployment/backup', backup)).status).toBe(200);
    const after = await read('/pools/deployment');
    expect(after.limits).toEqual({ usd_per_day: 3, alerts: [0.8] });
    expect(after.total).toEqual(before.total);
  });

  test('is not restored without DEPLOYMENT_LIMITS, because its limits would apply to no account', async () => {
    await put('/pools/deployment/limits', { usd_per_day: 3 });
    const backup = await read('/pools/deployment/backup');
    await elsewhere();
    app = appWith({});
    const answer = await put('/pools/deployment/backup', backup);
    expect(answer.status).toBe(400);
    expect((await readError(answer)).message).toContain('DEPLOYMENT_LIMITS');
    expect(await read('/pools/deployment/backup')).toMatchObject({ limits: null });
  });

  test('keeps its other limits and its alerts when one limit is changed', async () => {
    await put('/pools/deployment/limits', { usd_per_day: 3, usd_per_month: 9, alerts: [0.8] });
    const changed = await call('PATCH', '/pools/deployment/limits', { usd_per_day: 4, usd_per_month: null });
    expect(changed.status).toBe(200);
    expect(await read('/pools/deployment')).toMatchObject({ limits: { usd_per_day: 4, alerts: [0.8] } });
    app = appWith({});
    expect((await call('PATCH', '/pools/deployment/limits', { usd_per_day: 1 })).status).toBe(400);
  });
});

describe('an erasure', () => {
  test('is applied with its original time: older tokens are revoked, newer tokens are not', async () => {
    const old = await createToken('alice', ['messages']);
    expect((await ask(old)).status).toBe(200);
    await app.waitUntilSettled();
    const erased_at = await erase('alice');
    expect(await read('/erasures')).toMatchObject({ data: [{ type: 'erasure', account: 'alice', erased_at }] });
    await elsewhere();

    expect((await put('/accounts/alice/erasure', { erased_at })).status).toBe(202);
    expect((await ask(old)).status).toBe(401);
    advanceClock(DAY);
    const fresh = await createToken('alice', ['messages']);
    expect((await ask(fresh)).status).toBe(200);
    // A restore that is repeated applies it again.
    expect((await put('/accounts/alice/erasure', { erased_at })).status).toBe(202);
    expect((await ask(fresh)).status).toBe(200);
    expect((await ask(old)).status).toBe(401);
    expect(await read('/erasures')).toMatchObject({ data: [{ account: 'alice', erased_at }] });
  });

  test('is rejected for a time in the future, and listed only for admins', async () => {
    const future = new Date(Date.now() + DAY).toISOString();
    expect((await put('/accounts/alice/erasure', { erased_at: future })).status).toBe(400);
    expect((await put('/accounts/alice/erasure', { erased_at: 'yesterday' })).status).toBe(400);
    expect((await call('GET', '/erasures', undefined, await createToken('alice'))).status).toBe(403);
  });

  test('stays listed for 90 days', async () => {
    const now = Date.now();
    const ago = (days: number) => new Date(now - days * DAY).toISOString();
    await put('/accounts/long-ago/erasure', { erased_at: ago(91) });
    await put('/accounts/alice/erasure', { erased_at: ago(89) });
    await put('/accounts/bob/erasure', { erased_at: ago(80) });
    expect(await read('/erasures')).toMatchObject({
      data: [
        { account: 'alice', erased_at: ago(89) },
        { account: 'bob', erased_at: ago(80) },
      ],
    });
    // The store has a clock of its own.
    const { keys } = await bindings.STORE.list({ prefix: 'erasure:' });
    const [first = 0, second = 0] = keys.map(({ expiration }) => expiration);
    expect(Math.round(((second - first) * 1_000) / DAY)).toBe(9);
  });

  test('prevents the restore of older backups of the account', async () => {
    const old = await createToken('alice', ['messages', 'prefixes']);
    await put('/accounts/alice/limits', { usd_per_day: 50 });
    await call('PUT', '/prefixes/brief', PREFIX, old);
    await (await ask(old, { conversation: 'trip' })).text();
    await app.waitUntilSettled();
    const account = await read('/accounts/alice/backup');
    const version = await read('/versions/prefix/brief/backup?account=alice');
    const lines = await (await call('GET', '/accounts/alice/conversations/trip/backup')).text();
    const erased_at = await erase('alice');
    await elsewhere();

    expect((await put('/accounts/alice/erasure', { erased_at })).status).toBe(202);
    const answers = [
      await put('/accounts/alice/backup', account),
      await put('/accounts/alice/backup?mode=merge', account),
      await put(`/versions/prefix/${String(version.version)}/backup`, version),
      await call('PUT', '/accounts/alice/conversations/trip/backup', lines),
    ];
    expect(answers.map(({ status }) => status)).toEqual([409, 409, 409, 409]);
    for (const answer of answers) {
      expect((await readError(answer)).message).toContain('cannot be restored');
    }
    expect((await ask(old)).status).toBe(401);
    expect(await read('/accounts/alice/conversations')).toMatchObject({ data: [] });
  });

  test('erases the data of an older backup that was restored before it', async () => {
    const old = await createToken('alice', ['messages', 'prefixes']);
    await put('/accounts/alice/limits', { usd_per_day: 50 });
    await put('/groups/red/accounts/alice', {});
    await call('POST', '/accounts/alice/credit', { usd: 3, note: 'Invoice of Alice' });
    await call('PUT', '/prefixes/brief', PREFIX, old);
    await (await ask(old, { conversation: 'trip', prefix: 'brief' })).text();
    await app.waitUntilSettled();
    const account = await read('/accounts/alice/backup');
    const version = await read('/versions/prefix/brief/backup?account=alice');
    const lines = await (await call('GET', '/accounts/alice/conversations/trip/backup')).text();
    const erased_at = await erase('alice');
    await elsewhere();

    advanceClock(DAY);
    expect((await put('/accounts/alice/backup', account)).status).toBe(200);
    expect((await put(`/versions/prefix/${String(version.version)}/backup`, version)).status).toBe(200);
    expect((await call('PUT', '/accounts/alice/conversations/trip/backup', lines)).status).toBe(201);
    await app.waitUntilSettled();
    expect((await put('/accounts/alice/erasure', { erased_at })).status).toBe(202);
    await app.waitUntilSettled();
    await vi.waitFor(async () => {
      await ring('alice');
      expect(await (await put('/accounts/alice/erasure', { erased_at })).json()).toMatchObject({ done: true });
    });
    expect((await ask(old)).status).toBe(401);
    expect(await read('/accounts')).toMatchObject({ data: [] });
    expect(await read('/accounts/alice?if_absent=empty')).toMatchObject({ own_limits: null, group: null });
    expect(await read('/accounts/alice/conversations')).toMatchObject({ data: [] });
    expect((await call('GET', '/accounts/alice/conversations/trip/backup')).status).toBe(404);
    expect(await read('/versions/prefix?account=alice')).toMatchObject({ data: [] });
    expect(await read('/accounts/alice/credit')).toMatchObject({ data: [{ usd: 3, note: null }] });
  });

  test('keeps the tokens, limits and conversations that the account received after it', async () => {
    const monday = await createToken('alice', ['messages']);
    expect((await ask(monday)).status).toBe(200);
    await app.waitUntilSettled();
    const erased_at = await erase('alice');
    advanceClock(DAY);
    const tuesday = await createToken('alice', ['messages']);
    await put('/accounts/alice/limits', { usd_per_day: 2 });
    expect((await ask(tuesday, { conversation: 'new' })).status).toBe(200);
    await app.waitUntilSettled();
    const account = await read('/accounts/alice/backup');
    const lines = await (await call('GET', '/accounts/alice/conversations/new/backup')).text();
    await elsewhere();

    for (let time = 0; time < 2; time += 1) {
      expect((await put('/accounts/alice/erasure', { erased_at })).status).toBe(202);
      expect((await put('/accounts/alice/backup', account)).status).toBe(200);
      await app.waitUntilSettled();
    }
    expect((await call('PUT', '/accounts/alice/conversations/new/backup', lines)).status).toBe(201);
    expect(await read('/accounts/alice')).toMatchObject({ own_limits: { usd_per_day: 2 } });
    expect(await read('/accounts')).toMatchObject({ data: [{ id: 'alice' }] });
    expect((await ask(tuesday)).status).toBe(200);
    expect((await ask(monday)).status).toBe(401);
  });
});

describe('an account that has been used in this deployment', () => {
  test('is merged with its backup: the larger of each sum applies, and all revocations remain', async () => {
    const mint = async () =>
      (await (await call('POST', '/tokens', { account: 'alice', scopes: ['messages'] })).json()) as {
        token: string;
        jti: string;
      };
    await put('/accounts/alice/limits', { usd_total: 2 });
    await put('/groups/red/accounts/alice', {});
    await call('POST', '/accounts/alice/credit', { usd: 3 });
    const [revokedThere, revokedHere] = [await mint(), await mint()];
    await call('DELETE', `/accounts/alice/tokens/${revokedThere.jti}`);
    await spent('alice', 40, 250_000_000, 'req_1');
    await spent('alice', 0, 500_000_000, 'req_2');
    await app.waitUntilSettled();
    const backup = await read('/accounts/alice/backup');
    const credit = await read('/accounts/alice/credit');
    await elsewhere();

    await call('DELETE', `/accounts/alice/tokens/${revokedHere.jti}`);
    await spent('alice', 0, 100_000_000, 'req_3');
    await app.waitUntilSettled();
    const refused = await put('/accounts/alice/backup', backup);
    expect(refused.status).toBe(409);
    expect((await readError(refused)).message).toContain('?mode=merge');
    for (let time = 0; time < 2; time += 1) {
      expect((await put('/accounts/alice/backup?mode=merge', backup)).status).toBe(200);
      await app.waitUntilSettled();
      expect(await read('/accounts/alice')).toMatchObject({
        own_limits: { usd_total: 2 },
        group: 'red',
        total: { settled_usd: 0.75, credit_usd: 3 },
        day: { settled_usd: 0.5 },
      });
      expect(await read('/accounts/alice/credit')).toEqual(credit);
    }
    for (const { token } of [revokedThere, revokedHere]) expect((await ask(token)).status).toBe(401);
    expect((await put('/accounts/alice/backup?mode=other', backup)).status).toBe(400);
  });

  test('is not merged while one of its requests is running', async () => {
    const backup = await read('/accounts/alice/backup');
    let answer = (_: Response) => {};
    app = createTestApp(() => new Promise<Response>((resolve) => (answer = resolve)), DEPLOYED_VARS);
    const asking = ask(await createToken('alice'));
    await vi.waitFor(() => expect(app.sent).toHaveLength(1));
    const refused = await put('/accounts/alice/backup?mode=merge', backup);
    expect(refused.status).toBe(409);
    expect((await readError(refused)).message).toContain('is running');
    answer(Response.json({ type: 'error', error: { type: 'invalid_request_error', message: 'no' } }, { status: 400 }));
    await asking;
    await app.waitUntilSettled();
    expect((await put('/accounts/alice/backup?mode=merge', backup)).status).toBe(200);
  });
});

test('GET /versions/:kind lists the stored names of an account or of the deployment, in pages', async () => {
  const token = await createToken('alice', ['prefixes']);
  for (const name of ['a', 'b', 'c']) await call('PUT', `/prefixes/${name}`, PREFIX, token);
  await put('/classifiers/mood', { labels: [{ name: 'glad' }, { name: 'sad' }] });
  const listed = (await read('/versions/prefix?account=alice&limit=2')) as { data: { id: string }[] };
  expect(listed).toMatchObject({ data: [{ id: 'a' }, { id: 'b' }], has_more: true, last_id: 'b' });
  expect(await read('/versions/prefix?account=alice&after_id=b')).toMatchObject({ data: [{ id: 'c' }] });
  expect(await read('/versions/classifier')).toMatchObject({ data: [{ type: 'classifier', id: 'mood' }] });
  expect((await call('GET', '/versions/model')).status).toBe(404);
});
