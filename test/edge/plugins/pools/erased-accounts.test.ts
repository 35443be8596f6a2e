import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LEEWAY_S } from '#edge/auth/identity/caller.ts';
import { addSums, packSums } from '#edge/claude/pricing/usage-sums.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { DAY_MS, MINUTE_MS } from '#edge/kit/async/durations.ts';
import type { LeaseRequest } from '#edge/plugins/pools/contracts/pool.ts';
import { UnreportedPools } from '#edge/plugins/pools/leases/unreported-pools.ts';
import type { Pool } from '#edge/plugins/pools/pool.ts';
import { createTestApp, type SentRequest, type TestApp } from '#test/support/app.ts';
import { advanceClock, setClockToNoon } from '#test/support/calendar.ts';
import { bindings } from '#test/support/conversations.ts';
import { resetAll } from '#test/support/reset.ts';
import { shortenAccountWaits } from '#test/support/shorten-account-waits.ts';
import { MODEL, SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { told } from './lease-calls.ts';

setClockToNoon();

const pools = env as unknown as { POOL: DurableObjectNamespace<Pool> };
const pool = (name: string) => pools.POOL.get(pools.POOL.idFromName(name));
const ask = { model: MODEL, max_tokens: 300, messages: [{ role: 'user', content: 'Hi' }] };
// In nanodollars: 20 tokens at $1 and 100 at $5 for a million.
const COST = 520_000;
const NOON = Date.UTC(2026, 10, 20, 12);
const BOTH = ['deployment', 'group:red'];

beforeEach(shortenAccountWaits);
afterEach(async () => {
  vi.restoreAllMocks();
  await resetAll();
  await abortAllDurableObjects();
});

const message = ({ url }: SentRequest) =>
  Response.json(url.pathname.endsWith('/count_tokens') ? { input_tokens: 20 } : SMALL_MESSAGE);

async function admin(app: TestApp, method: string, path: string): Promise<void> {
  const response = await app.fetch(path, { method, headers: bearerHeader(await createToken('root', ['admin'])) });
  expect(response.ok, `${method} ${path}: ${response.status}`).toBe(true);
  await response.text();
}

/** Has an account spend `COST`, and waits until it is settled. */
async function spend(app: TestApp, account: string): Promise<void> {
  const response = await app.post('/v1/messages', ask, bearerHeader(await createToken(account)));
  expect(response.status).toBe(200);
  await response.text();
  await app.waitUntilSettled();
}

/** @returns the accounts of the leases that a pool has */
const leasesOf = async (name: string) =>
  await runInDurableObject(pool(name), (_, { storage }) =>
    storage.sql
      .exec<{ account: string | null }>('select account from leases order by account')
      .toArray()
      .map(({ account }) => account),
  );

const spentIn = async (name: string) => {
  const { total } = await pool(name).getPoolQuotaReport();
  return Math.round(total.spent_usd * 1e9);
};

/** @returns what each account has spent, as the deployment's pool tells it */
const spentBy = async () => {
  const { data } = await pool('deployment').getSharedUsage({ group_by: 'account' });
  return Object.fromEntries(data.map(({ key, cost_usd }) => [key, Math.round(cost_usd * 1e9)]));
};

test('erasing an account keeps its sums without its name, and a reused name gets a new lease', async () => {
  const app = createTestApp(message, { ...DEPLOYED_VARS, DEPLOYMENT_LIMITS: '{"usd_per_day": 1}' });
  for (const account of ['alice', 'bob', 'dan']) {
    await admin(app, 'PUT', `/groups/red/accounts/${account}`);
    await spend(app, account);
  }
  for (const account of ['alice', 'bob']) await admin(app, 'DELETE', `/accounts/${account}`);
  for (const name of BOTH) await expect.poll(() => leasesOf(name)).toEqual([null, null, 'dan']);
  for (const name of BOTH) expect(await spentIn(name)).toBe(3 * COST);
  await expect.poll(spentBy).toEqual({ '(erased)': 2 * COST, dan: COST });

  // The issuer's clock may be ahead, so tokens dated within these seconds after the erasure are rejected, too.
  advanceClock((LEEWAY_S + 1) * 1_000);
  await spend(app, 'alice');
  await expect.poll(() => leasesOf('deployment')).toEqual([null, null, 'alice', 'dan']);
  await expect.poll(() => spentIn('deployment')).toBe(4 * COST);
  expect(await spentIn('group:red')).toBe(3 * COST);
  await expect.poll(spentBy).toEqual({ '(erased)': 2 * COST, alice: COST, dan: COST });

  await admin(app, 'DELETE', '/accounts/alice');
  await expect.poll(() => leasesOf('deployment')).toEqual([null, null, null, 'dan']);
  await expect.poll(spentBy).toEqual({ '(erased)': 3 * COST, dan: COST });
  expect(await spentIn('deployment')).toBe(4 * COST);
});

test('a request that outlives the erasure of its account stays counted throughout, and only once', async () => {
  let answer = () => {};
  const app = createTestApp(
    async (sent) => {
      if (sent.url.pathname.endsWith('/count_tokens')) return message(sent);
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return message(sent);
    },
    { ...DEPLOYED_VARS, DEPLOYMENT_LIMITS: '{"usd_per_day": 1}' },
  );
  const standing = async () => {
    const { day } = await pool('deployment').getPoolQuotaReport();
    return Math.round((day.spent_usd + day.leased_usd) * 1e9);
  };
  await pool('deployment').setLimits({ usd_per_day: 1 });
  const asked = app.post('/v1/messages', ask, bearerHeader(await createToken('alice')));
  try {
    await expect.poll(() => app.sent.filter(({ url }) => !url.pathname.endsWith('/count_tokens')).length).toBe(1);
    expect(await standing()).toBeGreaterThan(COST);
    await admin(app, 'DELETE', '/accounts/alice');
    await expect.poll(() => leasesOf('deployment')).toEqual([null, 'alice']);
    expect(await standing()).toBeGreaterThan(COST);
  } finally {
    answer();
  }
  await (await asked).text();
  await app.waitUntilSettled();
  await expect.poll(() => leasesOf('deployment')).toEqual([null, null, null]);
  await expect.poll(spentBy).toEqual({ '(erased)': COST });
  expect([await standing(), await spentIn('deployment')]).toEqual([COST, COST]);
});

test('a request that outlives its account’s erasure is counted even if the object dies before reporting the cost', async () => {
  let answer = () => {};
  const app = createTestApp(async (sent) => {
    if (!sent.url.pathname.endsWith('/count_tokens')) {
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
    }
    return message(sent);
  }, DEPLOYED_VARS);
  const asked = app.post('/v1/messages', ask, bearerHeader(await createToken('alice')));
  try {
    await expect.poll(() => app.sent.filter(({ url }) => !url.pathname.endsWith('/count_tokens')).length).toBe(1);
    vi.spyOn(UnreportedPools.prototype, 'report').mockResolvedValue();
    await admin(app, 'DELETE', '/accounts/alice');
  } finally {
    answer();
  }
  await (await asked).text();
  await app.waitUntilSettled();
  await abortAllDurableObjects();
  vi.restoreAllMocks();
  await expect
    .poll(async () => {
      await runDurableObjectAlarm(getAccountStub(bindings, {}, 'alice'));
      return await spentIn('deployment');
    })
    .toBe(COST);
});

test('a repeated last report of a visitor or of an erased account changes nothing', async () => {
  const day = Math.floor(NOON / DAY_MS);
  const row = { day, group: '', value: MODEL, sums: packSums({ ...addSums([]), requests: 1, cost: 100 }) };
  const sums = { since: -1, seq: 1, rows: [{ ...row, dimension: 'model' as const }], whole: [] };
  const tagged = [{ ...row, dimension: 'tag' as const, value: 'customer=1' }];
  const ofVisitor: LeaseRequest = { ...told('~one', 1, 100, NOON), sums };
  const ofAlice: LeaseRequest = { ...told('alice', 1, 100, NOON), sums: { ...sums, rows: [...sums.rows, ...tagged] } };
  const { account: _, ...nameless } = ofAlice;
  const last: LeaseRequest = { ...nameless, incarnation: 2, nameless: true, isLast: true, sums: { ...sums, since: 7 } };
  await runInDurableObject(pool('deployment'), async (object: Pool) => {
    let now = NOON;
    Object.assign(object, { now: () => now });
    const tell = (call: LeaseRequest) => object.leaseJson(JSON.stringify(call));
    const seen = () => [
      object.getPoolQuotaReport().day.spent_usd,
      ...(['account', 'model', 'tag'] as const).map((group_by) =>
        object.getSharedUsage({ group_by }).data.map(({ key, requests }) => [key, requests]),
      ),
    ];
    for (const call of [ofVisitor, ofAlice, last]) tell(call);
    object.mergeIntoEndedVisitors(ofVisitor.lease);
    const before = seen();
    expect(before).toEqual([
      2e-7,
      [
        ['(erased)', 1],
        ['(visitors)', 1],
      ],
      [[MODEL, 2]],
      [[null, 2]],
    ]);
    for (const call of [ofVisitor, ofAlice, last]) tell(call);
    object.mergeIntoEndedVisitors(ofVisitor.lease);
    expect(seen()).toEqual(before);
    // Its lease is forgotten once no call of it can be on its way; then it may be asked to join once more.
    now += 11 * MINUTE_MS;
    await object.alarm();
    object.mergeIntoEndedVisitors(ofVisitor.lease);
    expect(seen()).toEqual(before);
  });
  expect(await leasesOf('deployment')).toHaveLength(2);
});
