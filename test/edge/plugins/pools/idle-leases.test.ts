import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, test } from 'vitest';
import type { Pool } from '#edge/plugins/pools/pool.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { told } from './lease-calls.ts';

const LEASES = 500;
const NOW = Date.UTC(2026, 10, 20, 12);
const pools = env as unknown as { POOL: DurableObjectNamespace<Pool>; STORE: KVNamespace };
const group = () => pools.POOL.get(pools.POOL.idFromName('group:red'));

/** Runs in the pool's object at noon, and counts the rows that it reads. */
async function inPool<T>(work: (pool: Pool) => T | Promise<T>): Promise<{ result: T; rowsRead: number }> {
  return await runInDurableObject(group(), async (pool: Pool, { storage: { sql } }) => {
    (pool as unknown as { now: () => number }).now = () => NOW;
    const { exec } = sql;
    const cursors: { rowsRead: number }[] = [];
    sql.exec = function (this: SqlStorage, ...given: Parameters<typeof exec>) {
      const cursor = Reflect.apply(exec, this, given) as ReturnType<typeof exec>;
      cursors.push(cursor);
      return cursor;
    } as typeof exec;
    try {
      const result = await work(pool);
      return { result, rowsRead: cursors.reduce((sum, { rowsRead }) => sum + rowsRead, 0) };
    } finally {
      sql.exec = exec;
    }
  });
}

test('spending of closed leases stays counted, but a pool’s alarm does not read them and a lease call reads two rows', async () => {
  disableAutomaticAlarms();
  await inPool((pool) => {
    for (let n = 0; n < LEASES; n += 1) pool.leaseJson(JSON.stringify(told(`a${n}`, 1, 100, NOW)));
  });
  const alarm = await inPool((pool) => pool.alarm());
  expect(alarm.rowsRead).toBeLessThan(10);
  const again = await inPool((pool) => pool.leaseJson(JSON.stringify(told('a7', 2, 300, NOW))));
  // The lease itself, as it is stored and as it is replaced.
  expect(again.rowsRead).toBe(2);
  const late = await inPool((pool) => pool.leaseJson(JSON.stringify(told('a7', 1, 100, NOW))));
  expect(JSON.parse(late.result)).toMatchObject({ seq: 2 });
  const { result } = await inPool((pool) => pool.getPoolQuotaReport());
  expect(result.day.spent_usd).toBe((LEASES * 100 + 200) / 1e9);
});
