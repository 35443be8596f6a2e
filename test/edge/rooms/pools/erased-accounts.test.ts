import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { MINUTE_MS } from '../../../../src/edge/kit/async/durations.ts';
import type { Pool } from '../../../../src/edge/rooms/pools/pool.ts';
import { type Sent, type TestApp, testApp } from '../../../support/app.ts';
import { atNoon, passTime } from '../../../support/calendar.ts';
import { resetAll } from '../../../support/reset.ts';
import { restSooner } from '../../../support/rests.ts';
import { MODEL, SMALL_MESSAGE } from '../../../support/small-message.ts';
import { bearer, DEPLOYED, tokenOf } from '../../../support/tokens.ts';

atNoon();

const pools = env as unknown as { POOL: DurableObjectNamespace<Pool> };
const pool = (name: string) => pools.POOL.get(pools.POOL.idFromName(name));
const ask = { model: MODEL, max_tokens: 300, messages: [{ role: 'user', content: 'Hi' }] };
// In nanodollars: 20 tokens at $1 and 100 at $5 for a million.
const COST = 520_000;
const BOTH = ['deployment', 'group:red'];

beforeEach(restSooner);
afterEach(async () => {
  vi.restoreAllMocks();
  await resetAll();
  await abortAllDurableObjects();
});

const message = ({ url }: Sent) =>
  Response.json(url.pathname.endsWith('/count_tokens') ? { input_tokens: 20 } : SMALL_MESSAGE);

async function admin(app: TestApp, method: string, path: string): Promise<void> {
  const response = await app.fetch(path, { method, headers: bearer(await tokenOf('root', ['admin'])) });
  expect(response.ok, `${method} ${path}: ${response.status}`).toBe(true);
  await response.text();
}

/** Has an account spend `COST`, and waits until it is settled. */
async function spend(app: TestApp, account: string): Promise<void> {
  const response = await app.post('/v1/messages', ask, bearer(await tokenOf(account)));
  expect(response.status).toBe(200);
  await response.text();
  await app.settled();
}

/** @returns the accounts of the leases that a pool has not deleted; the row of those that are gone has none */
const leasesOf = async (name: string) =>
  await runInDurableObject(pool(name), (_, { storage }) =>
    storage.sql
      .exec<{ account: string | null }>('select account from leases where dropped_at is null order by account')
      .toArray()
      .map(({ account }) => account),
  );

const spentIn = async (name: string) => {
  const { total } = await pool(name).standing();
  return Math.round(total.spent_usd * 1e9);
};

test('accounts that are erased leave one row for all of them, and each is counted once if it comes back', async () => {
  const app = testApp(message, { ...DEPLOYED, DEPLOYMENT_LIMITS: '{"usd_per_day": 1}' });
  const accounts = ['alice', 'bob', 'carol', 'dan'];
  for (const account of accounts) {
    await admin(app, 'PUT', `/groups/red/accounts/${account}`);
    await spend(app, account);
  }
  for (const account of ['alice', 'bob', 'carol']) await admin(app, 'DELETE', `/accounts/${account}`);
  for (const name of BOTH) await expect.poll(() => leasesOf(name)).toEqual([null, 'dan']);
  for (const name of BOTH) await expect.poll(() => spentIn(name)).toBe(4 * COST);

  // A token of the second of its account's end is refused.
  passTime(1_000);
  await spend(app, 'alice');
  await expect.poll(() => leasesOf('deployment')).toEqual([null, 'alice', 'dan']);
  await expect.poll(() => spentIn('deployment')).toBe(5 * COST);
  expect(await spentIn('group:red')).toBe(4 * COST);

  // The erased leases are forgotten once no call of theirs can be on its way.
  const rows = await runInDurableObject(pool('group:red'), async (object: Pool, { storage }) => {
    const count = () => storage.sql.exec<{ rows: number }>('select count(*) as rows from leases').one().rows;
    const before = count();
    const now = Date.now() + 11 * MINUTE_MS;
    Object.assign(object, { now: () => now });
    await object.alarm();
    return [before, count()];
  });
  expect(rows).toEqual([5, 2]);
});
