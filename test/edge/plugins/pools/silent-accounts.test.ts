import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, expect, test, vi } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { MINUTE_MS } from '#edge/kit/async/durations.ts';
import { Account } from '#edge/money/account/account.ts';
import { AccountLeases } from '#edge/plugins/pools/leases/leases.ts';
import type { Pool } from '#edge/plugins/pools/pool.ts';
import { bindings } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { resetAll } from '#test/support/reset.ts';
import { told } from './lease-calls.ts';

const NOON = Date.UTC(2026, 10, 20, 12);
const ACCOUNTS = 12;
const { POOL } = env as unknown as { POOL: DurableObjectNamespace<Pool> };
const pool = (name: string) => POOL.get(POOL.idFromName(name));

afterEach(async () => {
  vi.restoreAllMocks();
  await resetAll();
});

test('sets the next alarm only after due changes are reported, so that a dead object’s alarm is repeated', async () => {
  disableAutomaticAlarms();
  const stub = getAccountStub(bindings, {}, 'alice');
  const alarms: (number | null)[] = [];
  await runInDurableObject(stub, async (account: Account, { storage }) => {
    account.settleJson(JSON.stringify({ requestId: 'req_1', status: 'complete', cost: 100, startedAt: NOON }));
    vi.spyOn(AccountLeases.prototype, 'reportDueChanges').mockImplementation(async () => {
      alarms.push(await storage.getAlarm());
    });
    await storage.deleteAlarm();
    await account.alarm();
    alarms.push(await storage.getAlarm());
  });
  expect(alarms).toEqual([null, expect.any(Number)]);
});

test('lists a failing task if one of many accounts cannot report its spending, even if the pool restarts', async () => {
  disableAutomaticAlarms();
  vi.spyOn(console, 'error').mockImplementation(() => {});
  // A request that goes on keeps the lease of its account open.
  vi.spyOn(Account.prototype, 'reportSpendingToPool').mockImplementation(async function (this: Account) {
    if ((this as unknown as { ctx: DurableObjectState }).ctx.id.name === 'a5') throw new RangeError('a bug');
  });
  const inPool = async (now: number, work: (pool: Pool) => void | Promise<void>) =>
    await runInDurableObject(pool('group:red'), async (object: Pool) => {
      (object as unknown as { now: () => number }).now = () => now;
      await work(object);
    });
  await inPool(NOON, (object) => {
    for (let nth = 0; nth < ACCOUNTS; nth += 1)
      object.leaseJson(JSON.stringify({ ...told(`a${nth}`, 1, 100, NOON), owes: true }));
  });
  for (let minute = 1; minute <= 20; minute += 1) {
    if (minute === 7) await abortAllDurableObjects();
    await inPool(NOON + minute * MINUTE_MS, (object) => object.alarm());
  }
  await eventually(async () => {
    const { failing_tasks } = await pool('deployment').getPoolOverview({}, false);
    expect(failing_tasks).toMatchObject([{ task: 'account_report', failing_since: '2026-11-20T12:01:00.000Z' }]);
  });
});
