import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, test } from 'vitest';
import { OUTCOME_COLUMNS, SUM_COLUMNS } from '#edge/claude/pricing/usage-sums.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { DAY_MS, MINUTE_MS } from '#edge/kit/async/durations.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import type { Pool } from '#edge/plugins/pools/pool.ts';
import { told } from '#test/edge/plugins/pools/lease-calls.ts';
import { createTestApp } from '#test/support/app.ts';
import { setClockToNoon } from '#test/support/calendar.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { settleInside } from './admission-requests.ts';
import { counting } from './counting-calls.ts';

setClockToNoon();
const bindings = env as unknown as Bindings;
const pools = env as unknown as { POOL: DurableObjectNamespace<Pool> };
const ACCOUNTS = 10_000;
const LIMIT_USD = 1;
/** The rows of an index and of what is sorted count, too. So many take SQLite less than 300 ms of a core. */
const MOST_ROWS_READ = 400_000;
const MOST_CALLS = 5;
const REQUESTS_OF_ONE = 10_000;

/** Has ten thousand accounts tell the pool what they have spent this month. */
async function tellPool(now: number): Promise<void> {
  await runInDurableObject(pools.POOL.get(pools.POOL.idFromName('deployment')), (pool: Pool, { storage }) => {
    for (let at = 0; at < ACCOUNTS; at += 1) {
      const call = {
        ...told(`account-${at}`, 1, at * 90_000, now),
        limits: { usd_per_month: LIMIT_USD },
        seenAt: now - at,
      };
      pool.leaseJson(JSON.stringify(call));
    }
    // A hundredth of them are there on each day of the year, and all of them in the last week.
    const day = Math.floor(now / DAY_MS);
    const ofDays = (accounts: string, days: string, [dimension, value]: readonly [string, string]) =>
      storage.sql.exec(
        `insert into used (dimension, day, lease, value, pool_group, ${SUM_COLUMNS.filter((column) => !(OUTCOME_COLUMNS as readonly string[]).includes(column)).join(', ')})
         with recursive accounts(a) as (select 0 union all select a + 1 from accounts where a < ${ACCOUNTS - 1}),
           days(d) as (select 0 union all select d + 1 from days where d < 364)
         select '${dimension}', ${day} - d, 'lease-account-' || a, ${value}, '', 1, 1000 + a, 1, 1, 0, 0, 0, 0, 0, 0
         from days, accounts where ${days} and ${accounts}`,
      );
    for (const one of [
      ['model', "'claude-haiku-5-5'"],
      ['agent', "'agent-' || (a % 50)"],
      ['tag', "''"],
      ['tag', "'customer=' || (a % 500)"],
    ] as const) {
      ofDays('a % 100 = d % 100', 'd >= 7', one);
      ofDays('true', 'd < 7', one);
    }
  });
}

/** Gives one account a ledger with ten thousand requests of a month. */
async function fillLedger(): Promise<void> {
  const now = Date.now();
  await runInDurableObject(getAccountStub(bindings, {}, 'account-7'), (account: Account) => {
    for (let n = 0; n < REQUESTS_OF_ONE; n += 1) {
      settleInside(account, {
        requestId: `req_${String(n).padStart(8, '0')}`,
        status: 'complete',
        cost: 1_000,
        startedAt: now - 29 * DAY_MS + n * 4 * MINUTE_MS,
        tokens: { input: 1, output: 1 },
        admittedFields: { route: 'messages', model: 'claude-haiku-5-5', conversation: `c${n % 100}` },
      });
    }
  });
}

/** @returns what says how many rows an object has read since */
async function countingRows(stub: DurableObjectStub<Account | Pool>): Promise<() => number> {
  const cursors: { rowsRead: number }[] = [];
  await runInDurableObject(stub, (_, { storage: { sql } }) => {
    const { exec } = sql;
    sql.exec = function (this: SqlStorage, ...given: Parameters<typeof exec>) {
      const cursor = Reflect.apply(exec, this, given) as ReturnType<typeof exec>;
      cursors.push(cursor);
      return cursor;
    } as typeof exec;
  });
  return () => cursors.reduce((sum, { rowsRead }) => sum + rowsRead, 0);
}

test(`answers queries over a year of 10,000 accounts in at most ${MOST_CALLS} object calls and 400,000 row reads`, async () => {
  disableAutomaticAlarms();
  const now = Date.now();
  await tellPool(now);
  await fillLedger();
  const ofPool = await countingRows(pools.POOL.get(pools.POOL.idFromName('deployment')));
  const ofAccount = await countingRows(
    getAccountStub(bindings, {}, 'account-7') as unknown as DurableObjectStub<Account>,
  );
  const rowsRead = () => ofPool() + ofAccount();
  const calls: string[] = [];
  const app = createTestApp(() => Response.json({}), {
    ...DEPLOYED_VARS,
    POOL: counting<object>(pools.POOL, calls),
    ACCOUNT: counting<object>(bindings.ACCOUNT, calls),
  });
  const headers = bearerHeader(await createToken('root', ['admin']));
  const iso = (ago: number) => new Date(now - ago).toISOString();
  const week = `from=${iso(6 * DAY_MS).slice(0, 10)}`;
  const questions = {
    'who spent this month': '/accounts?sort=spent',
    'who spent this week': `/usage?group_by=account&limit=500&${week}`,
    'what did a conversation cost this week': `/usage?account=account-7&group_by=conversation&key=c7&${week}`,
    'what did an agent cost this week': `/usage?group_by=agent&key=agent-7&${week}`,
    'what did a tag cost this week': `/usage?group_by=tag&key=customer=7&${week}`,
    'which account is near its limit': '/accounts?sort=used',
  };
  const measured: { question: string; calls: number; read: number; found: number }[] = [];
  for (const [question, path] of Object.entries(questions)) {
    calls.length = 0;
    const before = rowsRead();
    const response = await app.fetch(path, { headers });
    expect(response.status, path).toBe(200);
    const { data } = (await response.json()) as { data: unknown[] };
    measured.push({ question, calls: calls.length, read: rowsRead() - before, found: data.length });
  }
  for (const { question, calls: many, read, found } of measured) {
    expect(found, question).toBeGreaterThan(0);
    expect(many, question).toBeLessThanOrEqual(MOST_CALLS);
    expect(read, question).toBeLessThanOrEqual(MOST_ROWS_READ);
  }
}, 120_000);
