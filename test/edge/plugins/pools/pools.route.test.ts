import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { decodeJwt } from 'jose';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import type { UsageReport } from '#edge/money/account/usage-answers.schema.ts';
import type { LeaseRequest, LeaseResponse } from '#edge/plugins/pools/contracts/pool.ts';
import type { UsageSumsReportRow } from '#edge/plugins/pools/contracts/sums.ts';
import type { Pool } from '#edge/plugins/pools/pool.ts';
import type { AccountSpendRow, PoolQuotaReport, SharedUsageReport } from '#edge/plugins/pools/pools-answers.schema.ts';
import { createTestApp, readError, type SentRequest, type TestApp } from '#test/support/app.ts';
import { setClockToNoon } from '#test/support/calendar.ts';
import { resetAll } from '#test/support/reset.ts';
import { shortenAccountWaits } from '#test/support/shorten-account-waits.ts';
import { MODEL, SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

setClockToNoon();

const bindings = env as unknown as Omit<Bindings, 'POOL'> & { POOL: DurableObjectNamespace<Pool> };
const ask = { model: MODEL, max_tokens: 300, messages: [{ role: 'user', content: 'Hi' }] };
// In nanodollars: 20 tokens at $1 and 100 at $5 for a million.
const COST = 520_000;
const nano = (usd: number) => Math.round(usd * 1e9);
const usd = (nanodollars: number) => nanodollars / 1e9;

beforeEach(shortenAccountWaits);

// What an object has in memory outlives its rows: each test has accounts and pools of its own.
afterEach(async () => {
  vi.restoreAllMocks();
  await runInDurableObject(pool(), (_, { storage }) => {
    for (const table of ['leases', 'used', 'meta']) storage.sql.exec(`delete from ${table}`);
  });
  await resetAll();
  await abortAllDurableObjects();
});

const message = ({ url }: SentRequest) =>
  Response.json(url.pathname.endsWith('/count_tokens') ? { input_tokens: 20 } : SMALL_MESSAGE);
const shared = (vars: Record<string, unknown> = {}) =>
  createTestApp(message, { ...DEPLOYED_VARS, DEPLOYMENT_LIMITS: '{}', ...vars });

async function admin<T>(app: TestApp, method: string, path: string, body?: unknown, isOk = true): Promise<T> {
  const init = {
    method,
    headers: { 'content-type': 'application/json', ...bearerHeader(await createToken('root', ['admin'])) },
  };
  const response = await app.fetch(path, body === undefined ? init : { ...init, body: JSON.stringify(body) });
  expect(response.ok, `${method} ${path}: ${response.status}`).toBe(isOk);
  return (await response.json()) as T;
}

const post = async (app: TestApp, account: string) =>
  await app.post('/v1/messages', ask, bearerHeader(await createToken(account)));
const accountNamed = (name: string) => (bindings.ACCOUNT as DurableObjectNamespace<Account>).getByName(name);
/** Has accounts tell their pools by their alarms, which would come after two seconds. */
const report = (...accounts: string[]) =>
  Promise.all(accounts.map((name) => runDurableObjectAlarm(accountNamed(name))));
const pool = (name = 'deployment') => bindings.POOL.get(bindings.POOL.idFromName(name));
const spent = async (app: TestApp) =>
  new Map(
    (await admin<SharedUsageReport>(app, 'GET', '/usage?group_by=account')).data.map(({ key, cost_usd }) => [
      key,
      nano(cost_usd),
    ]),
  );

/** What the deployment's pool says, is what the ledgers of these accounts say, and what is erased besides. */
async function expectSumsOfLedgers(app: TestApp, accounts: readonly string[], erased = 0): Promise<void> {
  for (const group_by of ['day', 'model', 'token', 'user', 'agent', 'prefix', 'upstream', 'tag'] as const) {
    const { total, data } = await admin<UsageReport>(app, 'GET', `/usage?group_by=${group_by}`);
    const ledgers = await Promise.all(
      accounts.map((account) => admin<UsageReport>(app, 'GET', `/usage?group_by=${group_by}&account=${account}`)),
    );
    const costs = new Map<string | null, number>();
    for (const one of ledgers.flatMap((ledger) => ledger.data)) {
      costs.set(one.key, (costs.get(one.key) ?? 0) + nano(one.cost_usd));
    }
    expect(nano(total.cost_usd)).toBe(ledgers.reduce((sum, ledger) => sum + nano(ledger.total.cost_usd), erased));
    if (erased > 0) continue;
    expect(new Map(data.map(({ key, cost_usd }) => [key, nano(cost_usd)])), group_by).toEqual(costs);
  }
}

describe('a limit that accounts share', () => {
  test('of a group rejects only its accounts, reports that a group limits them and hides the group’s amounts', async () => {
    const app = shared();
    await admin(app, 'PUT', '/groups/red/limits', { usd_per_day: 0.008 });
    await admin(app, 'PUT', '/groups/red/accounts/alice');
    await admin(app, 'PUT', '/groups/red/accounts/bob');
    const answered = { alice: 0, bob: 0 };
    let refused: Response | undefined;
    for (let asked = 0; refused === undefined; asked += 1) {
      const account = asked % 3 === 2 ? 'bob' : 'alice';
      const response = await post(app, account);
      if (response.status === 200) answered[account] += 1;
      else if (response.headers.get('x-should-retry') === 'false') refused = response;
      // What another has leased and does not use comes back.
      else await yieldToEventLoop();
    }
    expect(answered.bob).toBeGreaterThan(0);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('sluice-limited-by')).toBe('group');
    const { message: said, type } = await readError(refused);
    expect(type).toBe('billing_error');
    expect(said).not.toContain('0.008');
    expect(said).not.toMatch(/left/);
    expect((await post(app, 'carol')).status).toBe(200);
    const { day } = await admin<PoolQuotaReport>(app, 'GET', '/groups/red');
    expect([day.limit_usd, nano(day.spent_usd)]).toEqual([0.008, (answered.alice + answered.bob) * COST]);
    const { data } = await admin<{ data: AccountSpendRow[] }>(app, 'GET', '/groups/red/accounts');
    expect(data.map(({ id, spent_usd }) => [id, nano(spent_usd.day)])).toEqual([
      ['alice', answered.alice * COST],
      ['bob', answered.bob * COST],
    ]);
  });

  test('of a group lowers max_tokens, and the header names the group and the window without an amount', async () => {
    const app = shared();
    await admin(app, 'PUT', '/groups/red/limits', { usd_per_day: 0.008 });
    await admin(app, 'PUT', '/groups/red/accounts/alice');
    const response = await app.post(
      '/v1/messages',
      { ...ask, max_tokens: 9_000 },
      bearerHeader(await createToken('alice')),
    );
    expect(response.status).toBe(200);
    const { day } = await admin<PoolQuotaReport>(app, 'GET', '/groups/red');
    expect(response.headers.get('sluice-lowered-by')).toBe(`group; limit=usd_per_day; resets=${day.resets_at}`);
  });

  test('of the deployment rejects requests of an account without a group', async () => {
    const app = shared();
    await admin(app, 'PUT', '/pools/deployment/limits', { usd_per_month: 0.0001 });
    const refused = await post(app, 'bob');
    expect([refused.status, refused.headers.get('sluice-limited-by')]).toEqual([429, 'deployment']);
  });

  test('per hour or in total rejects requests, and the total includes earlier spending and erased accounts', async () => {
    const app = shared();
    for (const account of ['alice', 'bob', 'dave']) await admin(app, 'PUT', `/groups/red/accounts/${account}`);
    for (const account of ['alice', 'bob']) await (await post(app, account)).text();
    await app.waitUntilSettled();
    await admin(app, 'DELETE', '/accounts/alice');
    await admin(app, 'PUT', '/groups/red/limits', { usd_total: usd(2 * COST + 900_000) });
    const standing = async () => await admin<PoolQuotaReport>(app, 'GET', '/groups/red');
    await expect.poll(async () => nano((await standing()).total.spent_usd)).toBe(2 * COST);
    const refused = await post(app, 'dave');
    expect([refused.status, refused.headers.get('sluice-limited-by')]).toEqual([429, 'group']);
    expect((await readError(refused)).message).not.toContain('$');
    await admin(app, 'PUT', '/groups/red/limits', { usd_total: 1, usd_per_hour: usd(2 * COST + 900_000) });
    const hourly = await post(app, 'dave');
    expect([hourly.status, hourly.headers.get('sluice-limited-by')]).toEqual([429, 'group']);
    expect(Number(hourly.headers.get('retry-after'))).toBeLessThanOrEqual(3_600);
    // The list of what was refused names the group.
    const listed = { refusal: { limited_by: 'group', group: 'red', limit: 'usd_per_hour' } };
    expect(await admin(app, 'GET', '/usage/requests?outcome=refused&account=dave&limit=1')).toMatchObject({
      data: [listed],
    });
    await admin(app, 'PUT', '/groups/red/limits', { usd_total: 1, usd_per_hour: 1 });
    await expect.poll(async () => (await post(app, 'dave')).status).toBe(200);
    const { data } = await admin<{ data: (PoolQuotaReport & { id: string })[] }>(app, 'GET', '/groups');
    expect(data.map(({ id, limits }) => [id, limits])).toEqual([['red', { usd_total: 1, usd_per_hour: 1 }]]);
    expect(data[0]?.hour.limit_usd).toBe(1);
  });

  test('counts spending that the alarm reports after the return of a lease was lost', async () => {
    const app = shared();
    await admin(app, 'PUT', '/groups/red/accounts/bob');
    const spentByRed = async () => nano((await admin<PoolQuotaReport>(app, 'GET', '/groups/red')).total.spent_usd);
    const bob = accountNamed('bob');
    await (await post(app, 'bob')).text();
    await expect.poll(spentByRed).toBe(COST);
    // The first alarm reports to every pool, because the object has woken.
    await runDurableObjectAlarm(bob);
    let lost = 0;
    const calls = await runInDurableObject(pool('group:red'), (red) => {
      const { leaseJson } = red;
      return vi.spyOn(Object.getPrototypeOf(red) as Pool, 'leaseJson').mockImplementation(function (this: Pool, text) {
        if (this !== red) return Reflect.apply(leaseJson, this, [text]) as string;
        lost += 1;
        throw new Error('lost');
      });
    });
    // The group has no limit, so its lease still covers a second request, and no call is made for that.
    await (await post(app, 'bob')).text();
    await expect.poll(() => lost).toBe(1);
    await app.waitUntilSettled();
    calls.mockRestore();
    await runInDurableObject(bob, (object) => {
      (object as unknown as { now: () => number }).now = () => Date.now() + 61_000;
    });
    await runDurableObjectAlarm(bob);
    await expect.poll(spentByRed).toBe(2 * COST);
  });

  test('the list of accounts shows changed limits and groups before the next request', async () => {
    const app = shared();
    await (await post(app, 'alice')).text();
    await app.waitUntilSettled();
    // It has told everything, and waits for nothing more.
    await expect.poll(() => spent(app)).toEqual(new Map([['alice', COST]]));
    await admin(app, 'PATCH', '/accounts/alice/limits', { usd_per_day: 3 });
    await admin(app, 'PUT', '/groups/red/accounts/alice');
    const listed = async () => {
      const { data } = await admin<{ data: AccountSpendRow[] }>(app, 'GET', '/accounts?sort=spent');
      return data.map(({ id, group, limit_usd }) => [id, group, limit_usd.day]);
    };
    await expect.poll(listed).toEqual([['alice', 'red', 3]]);
  });

  test.each(['/groups/red', '/pools/deployment'])(
    '%s: a change with another value in `if_limits` changes nothing',
    async (path) => {
      const app = shared();
      await admin(app, 'PUT', '/pools/deployment/limits', {});
      await admin(app, 'PUT', `${path}/limits`, { usd_per_day: 0.5, alerts: [0.5] });
      const change = (expected: object, isOk = true) =>
        admin<object>(app, 'PATCH', `${path}/limits`, { usd_per_day: 3, if_limits: expected }, isOk);
      expect(await change({ usd_per_day: 2 }, false)).toMatchObject({
        error: { type: 'conflict_error', message: expect.stringContaining('usd_per_day: now 0.5') },
      });
      expect(await admin(app, 'GET', path)).toMatchObject({ limits: { usd_per_day: 0.5, alerts: [0.5] } });
      const right = { usd_per_day: 0.5, alerts: [0.5], usd_total: null };
      expect(await change(right)).toMatchObject({ limits: { usd_per_day: 3, alerts: [0.5] } });
    },
  );

  test('cannot be set without DEPLOYMENT_LIMITS, but spending is still reported', async () => {
    const app = createTestApp(message, DEPLOYED_VARS);
    await (await post(app, 'alice')).text();
    await app.waitUntilSettled();
    await admin(app, 'PUT', '/accounts/alice/limits', { usd_per_day: 3 });
    await report('alice');
    await expect.poll(() => spent(app)).toEqual(new Map([['alice', COST]]));
    const { limits, day } = await admin<PoolQuotaReport>(app, 'GET', '/pools/deployment');
    expect([limits, day.limit_usd, nano(day.spent_usd), day.leased_usd]).toEqual([null, null, COST, 0]);
    const { data } = await admin<{ data: AccountSpendRow[] }>(app, 'GET', '/accounts?sort=spent');
    expect(data.map(({ id, spent_usd, limit_usd }) => [id, nano(spent_usd.day), limit_usd.day])).toEqual([
      ['alice', COST, 3],
    ]);
    expect(Date.parse(data[0]?.last_seen_at ?? '')).toBeGreaterThan(Date.now() - 60_000);
    const headers = { 'content-type': 'application/json', ...bearerHeader(await createToken('root', ['admin'])) };
    const refused = await app.fetch('/pools/deployment/limits', { method: 'PUT', headers, body: '{}' });
    expect([refused.status, (await readError(refused)).message]).toEqual([
      400,
      expect.stringContaining('DEPLOYMENT_LIMITS'),
    ]);
  });

  test('follows an account that moves to another group, and earlier spending stays with the earlier group', async () => {
    const app = shared();
    await admin(app, 'PUT', '/groups/red/accounts/alice');
    await (await post(app, 'alice')).text();
    await admin(app, 'PUT', '/groups/blue/accounts/alice');
    await (await post(app, 'alice')).text();
    await (await post(app, 'alice')).text();
    await app.waitUntilSettled();
    const sums = async () => (await admin<SharedUsageReport>(app, 'GET', '/usage?group_by=group')).data;
    await expect
      .poll(async () => (await sums()).map(({ key, cost_usd }) => [key, nano(cost_usd)]))
      .toEqual([
        ['blue', 2 * COST],
        ['red', COST],
      ]);
  });
});

test('a rejection names the owner of the limit, and reveals no amounts of others', async () => {
  let isBusy = false;
  const app = createTestApp(
    (sent) =>
      isBusy && !sent.url.pathname.endsWith('/count_tokens')
        ? Response.json(
            { type: 'error', error: { type: 'rate_limit_error', message: 'Slow down.' } },
            { status: 429, headers: { 'retry-after': '3600' } },
          )
        : message(sent),
    { ...DEPLOYED_VARS, DEPLOYMENT_LIMITS: '{}' },
  );
  const headers = { 'content-type': 'application/json', ...bearerHeader(await createToken('root', ['admin'])) };
  const body = JSON.stringify({ account: 'alice', scopes: ['messages'], limits: { usd_total: usd(1_700_000) } });
  const minted = await app.fetch('/tokens', { method: 'POST', headers, body });
  const { token } = (await minted.json()) as { token: string };
  const refusal = async (credential: string) => {
    const response = await app.post('/v1/messages', ask, bearerHeader(credential));
    const { type, message: said } = response.ok ? { type: '', message: '' } : await readError(response);
    await app.waitUntilSettled();
    return {
      by: response.headers.get('sluice-limited-by'),
      type,
      said,
      headers: [...response.headers.values()].join(),
    };
  };
  const alice = await createToken('alice');
  await admin(app, 'PUT', '/groups/red/accounts/bob');
  await (await post(app, 'bob')).text();
  expect(await refusal(token)).toMatchObject({ by: null, said: '' });
  expect((await refusal(token)).by).toBe('token');
  expect((await refusal(alice)).by).toBeNull();
  isBusy = true;
  expect((await refusal(alice)).by).toBe('upstream');
  isBusy = false;
  await admin(app, 'PUT', '/accounts/alice/limits', { usd_per_day: 0.000_1 });
  expect((await refusal(alice)).by).toBe('account');
  await admin(app, 'PUT', '/accounts/alice/limits', {});
  // A limit that was not there before is felt once accounts have told what they have spent.
  const told = async (path: string) => nano((await admin<PoolQuotaReport>(app, 'GET', path)).week.spent_usd);
  await expect.poll(() => told('/groups/red')).toBe(COST);
  await expect.poll(() => told('/pools/deployment')).toBe(3 * COST);
  await admin(app, 'PUT', '/groups/red/limits', { usd_per_week: usd(1_800_000) });
  await admin(app, 'PUT', '/groups/red/accounts/alice');
  // Others have spent some of it: what is left, and what the limit is, is theirs to know.
  for (const by of ['group', 'deployment']) {
    if (by === 'deployment') {
      await admin(app, 'PUT', '/pools/deployment/limits', { usd_per_month: usd(2_800_000) });
    }
    const { said, type, headers: values, ...rest } = await refusal(by === 'group' ? alice : await createToken('carol'));
    expect([rest.by, type]).toEqual([by, 'billing_error']);
    for (const text of [said, values]) expect(text).not.toMatch(/\$|0\.00[1-9]|1800000|2800000|520000|1560000/);
  }
});

describe('the usage report of all accounts', () => {
  test('calls the deployment’s pool once for five thousand accounts, whatever the grouping', async () => {
    const day = Math.floor(Date.now() / 86_400_000);
    await runInDurableObject(pool(), (object) => {
      for (let at = 0; at < 5_000; at += 1) {
        const name = `account-${String(at).padStart(4, '0')}`;
        const group = at % 2 === 0 ? 'red' : '';
        const row = (dimension: UsageSumsReportRow['dimension'], value: string): UsageSumsReportRow => ({
          day: day - (at % 3),
          group,
          dimension,
          value,
          sums: [1, at, 1, 1, 0, 0, 0, 0, 0],
        });
        const rows = [
          row('model', MODEL),
          row('token', `token-of-${name}`),
          row('user', `user-${at % 10}`),
          row('tag', ''),
          row('tag', `customer=${at % 7}`),
        ];
        const call: LeaseRequest = {
          lease: `lease-${at}`,
          account: name,
          incarnation: 1,
          seq: 1,
          windows: [],
          wish: 0,
          seenAt: Date.now(),
          sums: { since: -1, seq: 0, rows, whole: [] },
        };
        expect((JSON.parse(object.leaseJson(JSON.stringify(call))) as LeaseResponse).told).toBe(0);
      }
    });
    let calls: string[] = [];
    const counting = <T extends object>(namespace: T): T =>
      new Proxy<T>(namespace, {
        get: (target, name) => {
          const value: unknown = Reflect.get(target, name);
          if (name !== 'get') return typeof value === 'function' ? (value.bind(target) as unknown) : value;
          return (id: DurableObjectId) => {
            calls.push(id.name ?? '');
            return (value as (id: DurableObjectId) => unknown).call(target, id);
          };
        },
      });
    const app = shared({
      POOL: counting<object>(bindings.POOL),
      ACCOUNT: counting<object>(bindings.ACCOUNT as object),
    });
    const dayOf = (time: number) => new Date(time * 86_400_000).toISOString().slice(0, 10);
    const rows = { day: 3, model: 1, token: 1_000, user: 10, tag: 7, account: 5_000, group: 2 };
    const all = (5_000 * 4_999) / 2;
    for (const [group_by, many] of Object.entries(rows)) {
      for (const group of [undefined, 'red']) {
        calls = [];
        const of = group === undefined ? '' : `&group=${group}`;
        const { data, total } = await admin<SharedUsageReport>(app, 'GET', `/usage?group_by=${group_by}${of}`);
        // The other call is that to the admin's own account, whose credential may have been revoked.
        expect(calls, group_by).toEqual(['root', 'deployment']);
        expect([total.requests, nano(total.cost_usd)]).toEqual(group ? [2_500, 6_247_500] : [5_000, all]);
        const expected = group === undefined ? many : { account: 2_500, group: 1, user: 5 }[group_by];
        expect(data, group_by).toHaveLength(expected ?? many);
        const lasts = new Set(data.map(({ last_day }) => last_day));
        const everyDay = [0, 1, 2].map((ago) => dayOf(day - ago));
        const known = { token: everyDay, user: [dayOf(day)], tag: [dayOf(day)] }[group_by] ?? [undefined];
        expect([...lasts].sort(), group_by).toEqual([...known].sort());
        if (group_by !== 'token') {
          expect(data.reduce((sum, { cost_usd }) => sum + nano(cost_usd), 0)).toBe(nano(total.cost_usd));
        }
      }
    }
    const days = `from=${dayOf(day - 1)}&to=${dayOf(day)}`;
    const csv = await app.fetch(`/usage?group_by=tag&group=red&format=csv&${days}`, {
      headers: bearerHeader(await createToken('root', ['admin'])),
    });
    const lines = (await csv.text()).trim().split('\r\n');
    expect(lines[0]).toMatch(/^tag,requests,cost_usd,saved_usd,/);
    expect(lines).toHaveLength(8);
    const ofDay = Array.from({ length: 5_000 }, (_, at) => at).filter((at) => at % 2 === 0 && at % 3 === 1);
    expect(lines.slice(1).reduce((sum, line) => sum + Number(line.split(',')[1]), 0)).toBe(ofDay.length);
    calls = [];
    const list = await admin<{ data: AccountSpendRow[]; has_more: boolean }>(
      app,
      'GET',
      '/accounts?sort=spent&limit=7',
    );
    expect(calls).toEqual(['root', 'deployment']);
    expect([list.data.length, list.has_more]).toEqual([7, true]);
  });

  test('equals the ledgers, also after a sum was corrupted and its account has reported again', async () => {
    const app = shared();
    for (const account of ['alice', 'alice', 'bob']) await (await post(app, account)).text();
    await app.waitUntilSettled();
    await expect
      .poll(() => spent(app))
      .toEqual(
        new Map([
          ['alice', 2 * COST],
          ['bob', COST],
        ]),
      );
    await runInDurableObject(pool(), (_, { storage }) => {
      storage.sql.exec('update used set cost = 1, requests = 99');
    });
    for (const account of ['alice', 'bob']) await (await post(app, account)).text();
    await app.waitUntilSettled();
    await expect
      .poll(() => spent(app))
      .toEqual(
        new Map([
          ['alice', 3 * COST],
          ['bob', 2 * COST],
        ]),
      );
    await expectSumsOfLedgers(app, ['alice', 'bob']);
  });

  test('names the account of each token, unless the account was erased', async () => {
    const app = shared();
    const tokens = [await createToken('alice'), await createToken('bob'), await createToken('bob')];
    for (const token of tokens) await (await app.post('/v1/messages', ask, bearerHeader(token))).text();
    await app.waitUntilSettled();
    const [alice, ...bobs] = tokens.map((token) => decodeJwt(token).jti);
    const accountsOfTokens = async () => {
      const { data } = await admin<UsageReport>(app, 'GET', '/usage?group_by=token');
      return new Map(data.map(({ key, account }) => [key, account]));
    };
    const ofBob = bobs.map((jti) => [jti, 'bob'] as const);
    await report('alice', 'bob');
    await expect.poll(accountsOfTokens).toEqual(new Map([[alice, 'alice'], ...ofBob]));
    const { data } = await admin<UsageReport>(app, 'GET', '/usage?group_by=token&account=bob');
    for (const row of data) expect(row).not.toHaveProperty('account');
    await expect.poll(async () => (await admin<{ done: boolean }>(app, 'DELETE', '/accounts/alice')).done).toBe(true);
    await report('alice');
    await expect.poll(async () => [...(await accountsOfTokens()).values()]).not.toContain('alice');
    expect([...(await accountsOfTokens())]).toEqual(expect.arrayContaining(ofBob.map((row) => [...row])));
  });

  test('includes accounts that were used only before the deployment shared a budget', async () => {
    const before = createTestApp(message, DEPLOYED_VARS);
    for (const account of ['alice', 'bob']) await (await post(before, account)).text();
    await before.waitUntilSettled();
    await report('alice', 'bob');
    const app = shared();
    await (await post(app, 'carol')).text();
    await app.waitUntilSettled();
    await expect
      .poll(async () => {
        await runDurableObjectAlarm(pool());
        return await spent(app);
      })
      .toEqual(new Map([...['alice', 'bob', 'carol'].map((name) => [name, COST] as const)]));
    const { total } = await admin<PoolQuotaReport>(app, 'GET', '/pools/deployment');
    expect(nano(total.spent_usd)).toBe(3 * COST);
  });

  test('keeps the spending of an erased account without its name', async () => {
    const app = shared();
    await admin(app, 'PUT', '/pools/deployment/limits', { usd_per_day: 1 });
    await (await post(app, 'alice')).text();
    await (await post(app, 'bob')).text();
    await app.waitUntilSettled();
    await admin(app, 'DELETE', '/accounts/alice');
    await expect
      .poll(() => spent(app))
      .toEqual(
        new Map([
          ['(erased)', COST],
          ['bob', COST],
        ]),
      );
    const { data } = await admin<{ data: AccountSpendRow[] }>(app, 'GET', '/accounts?sort=spent');
    expect(data.map(({ id }) => id)).toEqual(['bob']);
    const { day } = await admin<PoolQuotaReport>(app, 'GET', '/pools/deployment');
    expect(nano(day.spent_usd)).toBe(2 * COST);
    // The name goes with the last that the account tells of itself.
    await expect
      .poll(() =>
        runInDurableObject(pool(), (_, { storage }) =>
          JSON.stringify([
            ...storage.sql.exec('select * from leases'),
            ...storage.sql.exec('select * from used'),
          ]).includes('alice'),
        ),
      )
      .toBe(false);
  });
});
