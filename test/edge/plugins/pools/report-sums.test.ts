import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createTables } from '#edge/durable/schema.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Account } from '#edge/money/account/account.ts';
import { Ledger } from '#edge/money/ledger/ledger.ts';
import type { UsageSumsReport } from '#edge/plugins/pools/contracts/sums.ts';
import type { Pool } from '#edge/plugins/pools/pool.ts';
import { PoolStore } from '#edge/plugins/pools/pool-store.ts';
import { createChangedSumsReport, createNamelessSumsReport } from '#edge/plugins/pools/report-sums.ts';
import { POOL_TABLES } from '#edge/plugins/pools/tables.ts';
import { ReportedUsageTable } from '#edge/plugins/pools/used-sums.ts';
import { settleInside } from '#test/edge/money/account/admission-requests.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';

const bindings = env as unknown as { ACCOUNT: DurableObjectNamespace<Account>; POOL: DurableObjectNamespace<Pool> };
const DAY = 86_400_000;
const nano = (usd: number) => Math.round(usd * 1e9);
const account = () => getAccountStub(bindings, {}, 'alice');
const pool = () => bindings.POOL.get(bindings.POOL.idFromName('deployment'));
const DIMENSIONS = ['day', 'model', 'token', 'user', 'agent', 'prefix', 'upstream', 'tag'] as const;

interface Row {
  day: number;
  group: string | null;
  model: string;
  token: string | null;
  user: string | null;
  tags: string[];
  cost: number;
}

const row: fc.Arbitrary<Row> = fc.record({
  day: fc.nat(2),
  group: fc.constantFrom(null, 'red', 'blue'),
  model: fc.constantFrom('claude-opus-5-5', 'claude-haiku-5-5'),
  token: fc.constantFrom(null, 't1', 't2'),
  user: fc.constantFrom(null, 'u1', 'u2'),
  tags: fc.constantFrom<string[]>([], ['a=1'], ['a=1', 'b=1']),
  cost: fc.nat(1_000),
});

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('spend' as const), rows: fc.array(row, { maxLength: 4 }) }) },
  // More values than a day has rows for.
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crowd' as const), first: fc.nat(3), many: fc.nat(150) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('report' as const), lost: fc.constantFrom('call', 'answer', 'none') }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'fold' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'crash' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'afresh' as const }) },
);

/** Makes the pool's tables: the test writes into them beside the object, which makes them with the first write of its own. */
const makePool = async () => {
  await runInDurableObject(pool(), (_, { storage }) => createTables(storage, POOL_TABLES));
  await abortAllDurableObjects();
};

const put = async (report: UsageSumsReport) =>
  await runInDurableObject(pool(), (_, { storage }) =>
    new ReportedUsageTable(new PoolStore(storage)).storeReport('lease', report),
  );

test('a pool’s sums match the ledger in every grouping despite late, repeated and partial reports', async () => {
  let base = Math.floor(Date.now() / DAY);
  await tryAsyncCases(caseCount(100), fc.array(step, { maxLength: 14 }), async (steps) => {
    await resetAll();
    await makePool();
    base += 10;
    const clock = (base + 4) * DAY;
    const rows: Row[] = [];
    let since = -1;
    let ids = 0;
    const inAccount = async <T>(run: (object: Account, ledger: Ledger) => T): Promise<T> =>
      await runInDurableObject(account(), (object: Account, { storage }) => {
        Object.assign(object, { now: () => clock });
        return run(object, new Ledger(storage));
      });
    const spend = async (more: readonly Row[]) => {
      rows.push(...more);
      await inAccount((object) => {
        for (const { day, cost, tags, user, ...opening } of more) {
          ids += 1;
          settleInside(object, {
            requestId: `req_${String(ids).padStart(8, '0')}`,
            status: 'complete',
            cost,
            startedAt: (base + day) * DAY + 1,
            admittedFields: { route: 'messages', ...opening, dimensions: { user, tags: tags.join(',') } },
          });
        }
      });
    };
    const report = async (lost: 'call' | 'answer' | 'none') => {
      const told = await inAccount((_, ledger) => createChangedSumsReport(ledger, since));
      if (lost !== 'call') await put(told);
      if (lost === 'none') since = told.seq;
      return told;
    };
    for (const next of steps) {
      if (next.kind === 'spend') await spend(next.rows);
      else if (next.kind === 'report') await report(next.lost);
      else if (next.kind === 'fold') await inAccount((object) => object.getUsageReport({ group_by: 'tag' }));
      else if (next.kind === 'crash') await abortAllDurableObjects();
      else if (next.kind === 'afresh') since = -1;
      else {
        const others = { day: 0, group: null, model: 'claude-opus-5-5', token: null, cost: 1 };
        const names = Array.from({ length: next.many }, (_, at) => `v${next.first * 100 + at}`);
        await spend(names.map((name) => ({ ...others, user: name, tags: [`v=${name}`] })));
      }
    }
    let told = await report('none');
    while (told.seq < (await inAccount((_, ledger) => ledger.rollups.lastChangeNumber))) told = await report('none');

    const usage = async (query: Parameters<Pool['getSharedUsage']>[0]) => await pool().getSharedUsage(query);
    for (const group_by of DIMENSIONS) {
      const own = await inAccount((object) => object.getUsageReport({ group_by }));
      // What was read has folded the rows: which values share a row may be another then.
      await report('none');
      const shared = await usage({ group_by });
      const sorted = (data: typeof own.data) => [...data].sort((a, b) => (String(a.key) < String(b.key) ? -1 : 1));
      // The last day of a value is told of all accounts alone.
      const told = shared.data.map(({ last_day: _, ...one }) => one);
      expect(sorted(told), group_by).toEqual(sorted(own.data));
      expect(shared.total).toEqual(own.total);
    }
    const to = new Date((base + 1) * DAY).toISOString().slice(0, 10);
    for (const group of ['red', 'blue']) {
      const paid = rows.filter((one) => one.group === group);
      for (const group_by of DIMENSIONS) {
        const { data, total } = await usage({ group_by, group });
        expect([total.requests, nano(total.cost_usd)]).toEqual([paid.length, costOf(paid)]);
        if (group_by !== 'tag') expect(data.reduce((sum, one) => sum + nano(one.cost_usd), 0)).toBe(costOf(paid));
      }
      const tagged = (await usage({ group_by: 'tag', group, to })).data.find(({ key }) => key === 'a=1');
      const expected = paid.filter(({ day, tags }) => day === 0 && tags.includes('a=1'));
      // With two hundred others before it, a tag has no row of its own.
      if (tagged) expect([tagged.requests, nano(tagged.cost_usd)]).toEqual([expected.length, costOf(expected)]);
    }
    // What is left of it once the account is erased.
    const left = await inAccount((_, ledger) => createNamelessSumsReport(ledger, since));
    await runInDurableObject(pool(), (_, { storage }) => {
      const used = new ReportedUsageTable(new PoolStore(storage));
      used.storeReport('lease', left);
      used.deleteAllButModelSums('lease');
    });
    for (const group_by of ['day', 'model', 'tag', 'user'] as const) {
      const { data, total } = await usage({ group_by });
      expect([total.requests, nano(total.cost_usd)]).toEqual([rows.length, costOf(rows)]);
      const keys = new Set(data.map(({ key }) => key));
      if (group_by === 'tag' || group_by === 'user') expect([...keys]).toEqual(rows.length === 0 ? [] : [null]);
    }
  });
});

const costOf = (rows: readonly Row[]) => rows.reduce((sum, { cost }) => sum + cost, 0);

test('a report contains only what changed, and a long history is reported in parts', async () => {
  await makePool();
  const spend = async (from: number, many: number, day: number) =>
    await runInDurableObject(account(), async (object: Account, { storage }) => {
      Object.assign(object, { now: () => day * DAY + 5_000 });
      for (let at = from; at < from + many; at += 1) {
        const admittedFields = {
          route: 'messages',
          model: 'claude-opus-5-5',
          dimensions: { user: `u${at % 150}`, tags: `t=${at % 100}` },
        };
        settleInside(object, {
          requestId: `req_${10_000 + at}`,
          status: 'complete',
          cost: 1,
          startedAt: day * DAY,
          admittedFields,
        });
      }
      object.getUsageReport({ group_by: 'tag' });
      // Here the test reports.
      await storage.deleteAlarm();
    });
  const told = async (since: number) =>
    await runInDurableObject(account(), (_, { storage }) => createChangedSumsReport(new Ledger(storage), since));
  const today = Math.floor(Date.now() / DAY);
  for (let day = 0; day < 9; day += 1) await spend(day * 200, 200, today - 10 + day);
  const parts = [await told(-1)];
  for (let part = parts[0]; part && part.rows.length > 0; ) {
    part = await told(part.seq);
    if (part.rows.length > 0) parts.push(part);
  }
  expect(parts.length).toBeGreaterThan(1);
  for (const part of parts) {
    expect(part.rows.length).toBeLessThan(1_000);
    await put(part);
  }
  expect((await pool().getSharedUsage({ group_by: 'day' })).total.requests).toBe(1_800);
  await spend(2_000, 1, today);
  expect((await told(parts.at(-1)?.seq ?? 0)).rows).toHaveLength(4);
});
