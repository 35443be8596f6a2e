import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { HOUR_MS } from '#edge/kit/async/durations.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import type { BlockingLimitName } from '#edge/money/budget/limits.schema.ts';
import type { LeaseRequest } from '#edge/plugins/pools/contracts/pool.ts';
import type { Pool } from '#edge/plugins/pools/pool.ts';
import type { AccountSpendRow } from '#edge/plugins/pools/pools-answers.schema.ts';
import { applyGroupLimitIfTighter, createUnknownAccountRow } from '#edge/plugins/pools/spenders.ts';
import { createTestApp, type SentRequest, type TestApp } from '#test/support/app.ts';
import { advanceClock, setClockToNoon } from '#test/support/calendar.ts';
import { resetAll } from '#test/support/reset.ts';
import { shortenAccountWaits } from '#test/support/shorten-account-waits.ts';
import { MODEL, SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { told } from './lease-calls.ts';

setClockToNoon();

const bindings = env as unknown as Omit<Bindings, 'POOL' | 'ACCOUNT'> & {
  POOL: DurableObjectNamespace<Pool>;
  ACCOUNT: DurableObjectNamespace<Account>;
};
const pool = () => bindings.POOL.getByName('deployment');
const ask = { model: MODEL, max_tokens: 300, messages: [{ role: 'user', content: 'Hi' }] };
// 20 tokens at $1 and 100 at $5 for a million.
const COST_USD = 0.00052;
type Tightest = NonNullable<AccountSpendRow['tightest']>;
const LISTS = ['/accounts', '/accounts?sort=spent'];

beforeEach(() => {
  shortenAccountWaits();
  setClockToNoon();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await resetAll();
  await abortAllDurableObjects();
});

const message = ({ url }: SentRequest) =>
  Response.json(url.pathname.endsWith('/count_tokens') ? { input_tokens: 20 } : SMALL_MESSAGE);
const shared = (vars: Record<string, unknown> = {}) =>
  createTestApp(message, { ...DEPLOYED_VARS, DEPLOYMENT_LIMITS: '{}', ...vars });

async function admin<T>(app: TestApp, method: string, path: string, body?: unknown): Promise<T> {
  const init = {
    method,
    headers: { 'content-type': 'application/json', ...bearerHeader(await createToken('root', ['admin'])) },
  };
  const response = await app.fetch(path, body === undefined ? init : { ...init, body: JSON.stringify(body) });
  expect(response.ok, `${method} ${path}: ${response.status}`).toBe(true);
  return (await response.json()) as T;
}

async function spend(app: TestApp, token: string): Promise<void> {
  const response = await app.post('/v1/messages', ask, bearerHeader(token));
  expect(response.status).toBe(200);
  await response.text();
  await app.waitUntilSettled();
}

const mint = async (app: TestApp, usd_total: number, expires_in?: number) =>
  await admin<{ token: string; jti: string }>(app, 'POST', '/tokens', {
    account: 'alice',
    scopes: ['messages'],
    limits: { usd_total },
    ...(expires_in === undefined ? {} : { expires_in }),
  });

async function rowOf(app: TestApp, path: string, account = 'alice'): Promise<AccountSpendRow | undefined> {
  const { data } = await admin<{ data: AccountSpendRow[] }>(app, 'GET', path);
  return data.find(({ id }) => id === account);
}

/** Waits until both lists have this of an account. */
async function expectRow(app: TestApp, row: Partial<AccountSpendRow>, account = 'alice'): Promise<void> {
  for (const path of LISTS) {
    await expect.poll(() => rowOf(app, path, account)).toMatchObject(row);
  }
}

/** @returns what a row says of a limit of the account itself */
const ofAccount = (limit: Tightest['limit'], limit_usd: number, used_usd: number, resets_at: string | null = null) => ({
  tightest: expect.objectContaining({ by: 'account', id: null, limit, limit_usd, used_usd, resets_at }),
});
const [HOUR_END, NEXT_HOUR_END, DAY_END] = ['2026-11-20T13', '2026-11-20T14', '2026-11-21T00'].map(
  (hour) => `${hour}:00:00.000Z`,
) as [string, string, string];

test('the tightest limit is the one with the greatest used share, until its window ends', async () => {
  const app = shared({ DEFAULT_LIMITS: '{"usd_per_hour": 0.01}' });
  await spend(app, await createToken('alice'));
  await expectRow(app, ofAccount('usd_per_hour', 0.01, COST_USD, HOUR_END));
  // Nobody asks: what changes is told at once.
  await admin(app, 'PATCH', '/accounts/alice/limits', { usd_per_day: 0.009 });
  await expectRow(app, ofAccount('usd_per_day', 0.009, COST_USD, DAY_END));
  await admin(app, 'PATCH', '/accounts/alice/limits', { usd_per_hour: 0.008 });
  await expectRow(app, ofAccount('usd_per_hour', 0.008, COST_USD, HOUR_END));
  advanceClock(HOUR_MS);
  await expectRow(app, ofAccount('usd_per_day', 0.009, COST_USD, DAY_END));
  await admin(app, 'PATCH', '/accounts/alice/limits', { usd_per_day: null });
  await expectRow(app, ofAccount('usd_per_hour', 0.008, 0, NEXT_HOUR_END));
});

test('a limit that rejected the last request is reported as rejecting until a request is admitted', async () => {
  const app = shared({ DEFAULT_LIMITS: '{"on_shortfall": "refuse"}' });
  // The maximum cost of a request is 0.00152: after one request for 0.00052 there is too little left for the next one.
  const limit_usd = 0.002;
  await admin(app, 'PATCH', '/accounts/alice/limits', { usd_per_day: limit_usd });
  const token = await createToken('alice');
  await spend(app, token);
  const accountOf = async (bearer: string) =>
    await (await app.fetch('/accounts/alice', { headers: bearerHeader(bearer) })).json();
  const standing = (refuses: boolean, limit = limit_usd) => ({
    limit: 'usd_per_day',
    limit_usd: limit,
    used_usd: COST_USD,
    refuses,
    ...(refuses && { insufficient_for: ask.model }),
  });
  const expectStanding = async (row: object) => {
    expect(await accountOf(token)).toMatchObject({ binds: [row] });
    expect(await admin(app, 'GET', '/accounts/alice')).toMatchObject({ binds: [row] });
    await runDurableObjectAlarm(bindings.ACCOUNT.getByName('alice'));
    await expectRow(app, { tightest: expect.objectContaining(row) });
  };
  await expectStanding(standing(false));
  expect((await app.post('/v1/messages', ask, bearerHeader(token))).status).toBe(429);
  await expectStanding(standing(true));
  expect(await admin(app, 'GET', '/overview')).toMatchObject({ accounts: { spent: 1 } });
  // It is read from the rows after the object has woken.
  await abortAllDurableObjects();
  await expectStanding(standing(true));
  // A higher limit fits the request.
  await admin(app, 'PATCH', '/accounts/alice/limits', { usd_per_day: 0.01 });
  await expectStanding(standing(false, 0.01));
  await admin(app, 'PATCH', '/accounts/alice/limits', { usd_per_day: limit_usd });
  await expectStanding(standing(true));
  // A smaller request is admitted.
  const small = { ...ask, max_tokens: 120 };
  const response = await app.post('/v1/messages', small, bearerHeader(token));
  expect(response.status).toBe(200);
  await response.text();
  await app.waitUntilSettled();
  await expectStanding({ ...standing(false), used_usd: 2 * COST_USD });
});

test('a token’s limit that rejected the last request is reported as rejecting', async () => {
  const app = shared({ DEFAULT_LIMITS: '{"on_shortfall": "refuse"}' });
  const { token, jti } = await mint(app, 0.002);
  await spend(app, token);
  expect((await app.post('/v1/messages', ask, bearerHeader(token))).status).toBe(429);
  const binds = [{ by: 'token', id: jti, used_usd: COST_USD, refuses: true }];
  expect(await admin(app, 'GET', '/accounts/alice')).toMatchObject({ binds });
});

test('credit is added to a total spend limit', async () => {
  const app = shared();
  await admin(app, 'PUT', '/accounts/alice/limits', { usd_per_day: 1, usd_total: 0.01 });
  await spend(app, await createToken('alice'));
  await expectRow(app, { ...ofAccount('usd_total', 0.01, COST_USD), blocked_by: null });
  await admin(app, 'POST', '/accounts/alice/credit', { usd: 0.5 });
  await expectRow(app, ofAccount('usd_total', 0.51, COST_USD));
  await admin(app, 'POST', '/accounts/alice/credit', { usd: 5 });
  await expectRow(app, ofAccount('usd_per_day', 1, COST_USD, DAY_END));
  // Prepaid without credit cannot send anything, until it has credit.
  await admin(app, 'PUT', '/accounts/bob/limits', { usd_total: 0 });
  await app.waitUntilSettled();
  await runDurableObjectAlarm(bindings.ACCOUNT.getByName('bob'));
  const prepaid = (limit_usd: number, blocked_by: 'usd_total' | null) => ({
    tightest: expect.objectContaining({ limit: 'usd_total', limit_usd, prepaid: true }),
    blocked_by,
  });
  await expectRow(app, prepaid(0, 'usd_total'), 'bob');
  await admin(app, 'POST', '/accounts/bob/credit', { usd: COST_USD });
  await expectRow(app, prepaid(COST_USD, null), 'bob');
  expect(await admin(app, 'GET', '/accounts/bob')).toMatchObject({ binds: [{ limit_usd: COST_USD, prepaid: true }] });
  expect((await rowOf(app, '/accounts'))?.tightest).not.toHaveProperty('prepaid');
});

test("a token's own limit may be the tightest, while the token is valid", async () => {
  const app = shared();
  await admin(app, 'PUT', '/accounts/alice/limits', { usd_per_day: 1 });
  const [phone, tablet] = [await mint(app, 0.01), await mint(app, 0.02, 600)];
  await spend(app, phone.token);
  const ofToken = (jti: string, limit_usd: number, used_usd: number) => ({
    tightest: expect.objectContaining({ by: 'token', id: jti, limit_usd, used_usd }),
  });
  await expectRow(app, ofToken(phone.jti, 0.01, COST_USD));
  await spend(app, phone.token);
  await expectRow(app, ofToken(phone.jti, 0.01, 2 * COST_USD));
  await spend(app, tablet.token);
  await admin(app, 'DELETE', `/accounts/alice/tokens/${phone.jti}`);
  await expectRow(app, ofToken(tablet.jti, 0.02, COST_USD));
  // An object that has woken reads it from its rows.
  await abortAllDurableObjects();
  await admin(app, 'PATCH', '/accounts/alice/limits', { usd_per_day: 2 });
  await expectRow(app, { ...ofToken(tablet.jti, 0.02, COST_USD), limit_usd: { day: 2, week: null, month: null } });
  advanceClock(600_000);
  await expectRow(app, ofAccount('usd_per_day', 2, 0.00156, DAY_END));
  const other = await mint(app, 0.002);
  await spend(app, other.token);
  await expectRow(app, ofToken(other.jti, 0.002, COST_USD));
  await admin(app, 'DELETE', '/accounts/alice/tokens');
  await expectRow(app, ofAccount('usd_per_day', 2, 0.00208, DAY_END));
});

test('an account is reported as blocked only while a limit of 0 rejects all of its requests', async () => {
  const app = shared();
  const names: readonly BlockingLimitName[] = [
    'requests_per_minute',
    'concurrent_requests',
    'models',
    'input_tokens_per_minute',
    'output_tokens_per_minute',
    'usd_per_hour',
    'usd_per_day',
    'usd_per_week',
    'usd_per_month',
    'usd_total',
  ];
  for (const blocking of names) {
    const limits = { [blocking]: blocking === 'models' ? [] : 0 };
    await admin(app, 'PUT', '/accounts/alice/limits', limits);
    await app.waitUntilSettled();
    // At once, although it has not asked for anything yet.
    await expectRow(app, { blocked_by: blocking });
    const response = await app.post('/v1/messages', ask, bearerHeader(await createToken('alice')));
    expect(response.ok, JSON.stringify(limits)).toBe(false);
    await response.text();
    await admin(app, 'PUT', '/accounts/alice/limits', { requests_per_minute: 9, count_requests_per_minute: 0 });
    await expectRow(app, { blocked_by: null });
  }
  await spend(app, await createToken('alice'));
});

test('a prepaid account is blocked while it has no credit', async () => {
  const app = shared();
  await admin(app, 'PUT', '/accounts/alice/limits', { usd_total: 0 });
  await app.waitUntilSettled();
  await expectRow(app, { blocked_by: 'usd_total' });
  expect(await admin(app, 'GET', '/accounts/alice')).toMatchObject({ blocked_by: 'usd_total' });
  await admin(app, 'POST', '/accounts/alice/credit', { usd: 1 });
  await app.waitUntilSettled();
  await expectRow(app, { blocked_by: null });
  expect(await admin(app, 'GET', '/accounts/alice')).toMatchObject({ blocked_by: null });
});

test('erasing an account removes its limits and tokens from the pool', async () => {
  const app = shared();
  const { token, jti } = await mint(app, 0.01);
  await spend(app, token);
  await expectRow(app, { tightest: expect.objectContaining({ id: jti }) });
  const rows = async () =>
    await runInDurableObject(pool(), (_: Pool, { storage }) =>
      JSON.stringify(storage.sql.exec('select account, limits from leases').toArray()),
    );
  expect(await rows()).toContain(jti);
  await admin(app, 'DELETE', '/accounts/alice');
  await expect.poll(rows).not.toMatch(/alice|usd_|token/);
  expect(await rowOf(app, '/accounts?sort=spent')).toBeUndefined();
});

test('the list of accounts shows the tightest reported limit, and a token’s only until the token has expired', async () => {
  const app = shared();
  const tell = async (account: string, limits: LeaseRequest['limits']) => {
    const call = { ...told(account, 1, 520_000, Date.now()), limits };
    await runInDurableObject(pool(), (object: Pool) => object.leaseJson(JSON.stringify(call)));
  };
  await tell('alice', { usd_per_day: 0.01, usd_per_week: 0.005 });
  await tell('bob', { usd_per_month: 0, blockedBy: 'usd_per_month' });
  await tell('carol', {});
  await tell('dave', undefined);
  const rows = Object.fromEntries(
    (await admin<{ data: AccountSpendRow[] }>(app, 'GET', '/accounts?sort=used')).data.map((row) => [row.id, row]),
  );
  expect(Object.keys(rows)).toEqual(['bob', 'alice', 'carol', 'dave']);
  const monday = '2026-11-23T00:00:00.000Z';
  expect(rows.alice).toMatchObject({ ...ofAccount('usd_per_week', 0.005, COST_USD, monday), blocked_by: null });
  expect(rows.bob).toMatchObject({ tightest: { limit: 'usd_per_month', limit_usd: 0 }, blocked_by: 'usd_per_month' });
  const token = { jti: 'phone', limit_usd: 1, used_usd: 0.5, until: Date.now() + HOUR_MS };
  await tell('erin', { token });
  expect(await rowOf(app, '/accounts?sort=spent', 'erin')).toMatchObject({
    tightest: { by: 'token', id: 'phone', used_usd: 0.5 },
  });
  advanceClock(HOUR_MS);
  expect(await rowOf(app, '/accounts?sort=spent', 'erin')).toMatchObject({ tightest: null });
  for (const id of ['carol', 'dave']) expect(rows[id]).toMatchObject({ tightest: null, blocked_by: null });
});

test('a group’s account list compares each account’s limits with all its spending, also in other groups', async () => {
  const app = shared();
  await admin(app, 'PUT', '/accounts/alice/limits', { usd_per_hour: 0.01 });
  await spend(app, await createToken('alice'));
  await admin(app, 'PUT', '/groups/red/accounts/alice');
  await spend(app, await createToken('alice'));
  await expectRow(app, ofAccount('usd_per_hour', 0.01, 2 * COST_USD, HOUR_END));
  const row = await rowOf(app, '/groups/red/accounts');
  expect(row).toMatchObject({
    ...ofAccount('usd_per_hour', 0.01, 2 * COST_USD, HOUR_END),
    spent_usd: { day: COST_USD },
  });
});

test('an account whose group has no budget left is listed as rejected, and only admins see the group’s amounts', async () => {
  const app = shared();
  await admin(app, 'PUT', '/pools/deployment/limits', { usd_per_month: 100 });
  await admin(app, 'PUT', '/groups/red/limits', { usd_per_day: 10 * COST_USD, alerts: [0.5] });
  await admin(app, 'PUT', '/groups/red/accounts/alice');
  await admin(app, 'PUT', '/accounts/alice/limits', { usd_per_month: 2 });
  await spend(app, await createToken('alice'));
  await spend(app, await createToken('bob'));
  await admin(app, 'PUT', '/accounts/bob/limits', { usd_per_month: 4 * COST_USD });
  // What is set again is all that is set; what is changed leaves the rest.
  expect(await admin(app, 'PATCH', '/groups/red/limits', { usd_per_day: COST_USD, usd_per_week: 1 })).toMatchObject({
    limits: { usd_per_day: COST_USD, usd_per_week: 1, alerts: [0.5] },
  });
  expect(await admin(app, 'PATCH', '/groups/red/limits', { usd_per_week: null })).toMatchObject({
    limits: { usd_per_day: COST_USD, alerts: [0.5] },
  });
  await expect
    .poll(() => admin(app, 'GET', '/groups/red'))
    .toMatchObject({ binds: [{ by: 'group', id: 'red', refuses: true }] });
  const ofGroup = { by: 'group', id: 'red', limit: 'usd_per_day', limit_usd: COST_USD, used_usd: COST_USD };
  await expectRow(app, { tightest: expect.objectContaining({ ...ofGroup, refuses: true }) });
  const order = async () =>
    (await admin<{ data: AccountSpendRow[] }>(app, 'GET', '/accounts?sort=used')).data.map(({ id }) => id);
  await admin(app, 'PUT', '/accounts/closed/limits', { requests_per_minute: 0 });
  await runInDurableObject(bindings.ACCOUNT.getByName('closed'), (account: Account) =>
    account.reportSpendingToPool('deployment'),
  );
  // Who can ask for nothing stands first.
  await expect.poll(order).toEqual(['closed', 'alice', 'bob']);
  // A group is looked at once a minute.
  advanceClock(60_000);
  expect(await admin(app, 'GET', '/overview')).toMatchObject({ accounts: { blocked: 1, spent: 1 } });
  type Answer = { binds: { by: string; refuses: boolean }[]; group: string | null };
  const told = await admin<Answer>(app, 'GET', '/accounts/alice');
  expect(told.group).toBe('red');
  expect(told.binds.map(({ by, refuses }) => [by, refuses])).toEqual([
    ['group', true],
    ['account', false],
    ['deployment', false],
  ]);
  const own = (await (
    await app.fetch('/accounts/alice', { headers: bearerHeader(await createToken('alice')) })
  ).json()) as Answer;
  expect(own.binds.map(({ by }) => by)).toEqual(['account']);
});

test('a spent deployment budget is the tightest limit of every account', async () => {
  const app = shared();
  await admin(app, 'PUT', '/pools/deployment/limits', { usd_per_day: 0.01 });
  await spend(app, await createToken('alice'));
  await admin(app, 'PUT', '/accounts/bob/limits', { usd_per_day: 4 * COST_USD });
  await spend(app, await createToken('bob'));
  const ofAll = { by: 'deployment', id: null, limit: 'usd_per_day', refuses: true };
  await expectRow(app, { tightest: null });
  expect(await admin(app, 'GET', '/overview')).toMatchObject({ accounts: { blocked: 0, spent: 0 } });
  await admin(app, 'PUT', '/pools/deployment/limits', { usd_per_day: 2 * COST_USD });
  await expectRow(app, { tightest: expect.objectContaining(ofAll) });
  await expectRow(app, { tightest: expect.objectContaining(ofAll) }, 'bob');
  expect(await admin(app, 'GET', '/overview')).toMatchObject({ accounts: { blocked: 0, spent: 2 } });
  // Without the setting they stay stored, and hold no more.
  const unshared = createTestApp(message, DEPLOYED_VARS);
  await expectRow(unshared, { tightest: null });
  expect(await admin(unshared, 'GET', '/overview')).toMatchObject({ accounts: { blocked: 0, spent: 0 } });
});

test('the list of accounts counts today’s rejected requests, also after the account’s object has restarted', async () => {
  const app = shared();
  await admin(app, 'PUT', '/accounts/alice/limits', { usd_per_day: 0, on_shortfall: 'refuse' });
  const refused = async () =>
    expect((await app.post('/v1/messages', ask, bearerHeader(await createToken('alice')))).ok).toBe(false);
  const tell = () =>
    runInDurableObject(bindings.ACCOUNT.getByName('alice'), (account: Account) =>
      account.reportSpendingToPool('deployment'),
    );
  await refused();
  // Those of one second share a row.
  advanceClock(2_000);
  await refused();
  await tell();
  await expectRow(app, { refused_today: 2, blocked_by: 'usd_per_day' });
  await app.waitUntilSettled();
  await abortAllDurableObjects();
  advanceClock(2_000);
  await refused();
  await tell();
  await expectRow(app, { refused_today: 3 });
  expect(await admin(app, 'GET', '/overview')).toMatchObject({
    type: 'overview',
    requests: { requests: 0, failed: 0, refused: 3 },
    rejections: [{ limited_by: 'account', reason: 'spend', requests: 3 }],
    accounts: { blocked: 1, spent: 0 },
    undelivered_alerts: 0,
  });
  advanceClock(24 * HOUR_MS);
  await expectRow(app, { refused_today: 0 });
});

test('a group counts today’s requests that its own limits rejected, also after the account’s object has woken', async () => {
  const app = shared();
  await admin(app, 'PUT', '/groups/red/limits', { usd_per_day: 0 });
  await admin(app, 'PUT', '/groups/blue/limits', { usd_per_day: 1 });
  await admin(app, 'PUT', '/groups/red/accounts/alice');
  await admin(app, 'PUT', '/accounts/bob/limits', { usd_per_day: 0 });
  await admin(app, 'PUT', '/groups/blue/accounts/bob');
  const refuse = async (account: string) => {
    expect((await app.post('/v1/messages', ask, bearerHeader(await createToken(account)))).status).toBe(429);
    // Those of one second share a row.
    advanceClock(2_000);
    await runInDurableObject(bindings.ACCOUNT.getByName(account), (object: Account) =>
      object.reportSpendingToPool('deployment'),
    );
  };
  await refuse('alice');
  await refuse('bob');
  await app.waitUntilSettled();
  await abortAllDurableObjects();
  await refuse('alice');
  const { data } = await admin<{ data: { id: string; refused_today: number }[] }>(app, 'GET', '/groups');
  expect(data.map(({ id, refused_today }) => [id, refused_today])).toEqual([
    ['blue', 0],
    ['red', 2],
  ]);
  expect(await admin(app, 'GET', '/groups/red')).toMatchObject({ refused_today: 2 });
  advanceClock(24 * HOUR_MS);
  expect(await admin(app, 'GET', '/groups/red')).toMatchObject({ refused_today: 0 });
});

test('an account’s last_seen_at includes rejected requests, and survives the sleep of its object', async () => {
  const app = shared();
  const seenIn = async () => (await rowOf(app, '/accounts'))?.last_seen_at?.slice(0, 16);
  await spend(app, await createToken('alice'));
  advanceClock(HOUR_MS);
  await admin(app, 'PUT', '/accounts/alice/limits', { usd_per_day: 0 });
  expect((await app.post('/v1/messages', ask, bearerHeader(await createToken('alice')))).ok).toBe(false);
  await app.waitUntilSettled();
  await abortAllDurableObjects();
  advanceClock(HOUR_MS);
  await admin(app, 'PUT', '/accounts/alice/limits', { usd_per_day: 3 });
  await runInDurableObject(bindings.ACCOUNT.getByName('alice'), (account: Account) =>
    account.reportSpendingToPool('deployment'),
  );
  await expect.poll(seenIn).toBe('2026-11-20T13:00');
});

test('a change that the list of accounts does not show causes no call to the pool', async () => {
  const app = shared();
  await mint(app, 0.01);
  await spend(app, await createToken('alice'));
  await admin(app, 'PUT', '/accounts/alice/limits', { usd_per_day: 1 });
  await expectRow(app, { limit_usd: { day: 1, week: null, month: null } });
  const account = bindings.ACCOUNT.getByName('alice');
  const calls = await runInDurableObject(pool(), (object: Pool) =>
    vi.spyOn(Object.getPrototypeOf(object) as Pool, 'leaseJson'),
  );
  await runInDurableObject(account, (object: Account) => {
    object.setLimits({ usd_per_day: 1, stored_bytes: 9 });
    // Nothing is spent of it, so it is not the tightest. Of equals, the first id counts.
    object.recordMintedToken({ jti: 'unused', scopes: [], limits: { usd_total: 5 } });
    object.revokeToken('unknown');
  });
  await runInDurableObject(pool(), () => {});
  expect(calls).not.toHaveBeenCalled();
  await runInDurableObject(account, (object: Account) => object.setLimits({ usd_per_day: 2 }));
  await expectRow(app, { limit_usd: { day: 2, week: null, month: null } });
  expect(calls).toHaveBeenCalled();
  // The account is not in use, and its first alarm has told everything: now only the change itself tells of it.
  await runInDurableObject(account, (object: Account) => object.alarm());
  const revokes = {
    one: (object: Account) => object.revokeToken('one'),
    all: (object: Account) => object.revokeAllTokens(),
  };
  for (const [jti, revoke] of Object.entries(revokes)) {
    const empty = { jti, scopes: [], limits: { usd_total: 0 } };
    await runInDurableObject(account, (object: Account) => object.recordMintedToken(empty));
    await expectRow(app, { tightest: expect.objectContaining({ id: jti }) });
    await runInDurableObject(account, revoke);
    await expectRow(app, ofAccount('usd_per_day', 2, COST_USD, DAY_END));
  }
});

test('lists an account whose group has the name of an inherited property', () => {
  const row = { ...createUnknownAccountRow('alice'), group: '__proto__' };
  expect(applyGroupLimitIfTighter(row, {})).toEqual(row);
});
