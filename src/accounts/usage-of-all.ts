/** Sums up what all accounts have spent, if they do not report to a pool: asks each listed account for its own sums. */

import type { Context } from 'hono';
import { type AppEnv, accountOf } from '../auth/context.ts';
import type { UsageQuery } from '../durable/contracts/account.ts';
import { accountList } from '../kv/name-list.ts';
import { fromUsd, toUsd } from '../pricing/cost.ts';
import { addSums, MOST_LISTED_VALUES, usageTotal } from '../pricing/usage-sums.ts';
import type { UsageReport } from './usage-answers.schema.ts';

const NO_TOTAL = usageTotal(addSums([]));
/** Accounts whose ledgers are asked at the same time. */
const ACCOUNTS_AT_ONCE = 20;

/** Sums up the reports of all accounts. */
export async function usageOfAll(c: Context<AppEnv>, query: UsageQuery): Promise<UsageReport> {
  const sums = new Map<string | null, UsageGroupSums>();
  let total = NO_TOTAL;
  for await (const { report } of reportsOfAll(c, query)) {
    total = addTotals(total, report.total);
    for (const { key, ...group } of report.data) {
      const before = sums.get(key);
      sums.set(key, before ? addGroups(before, group) : group);
    }
  }
  const data = [...sums].map(([key, group]) => ({ key, ...group }));
  data.sort((left, right) => (query.group_by === 'day' ? 0 : right.cost_usd - left.cost_usd) || byKey(left, right));
  return { from: query.from ?? null, to: query.to ?? null, group_by: query.group_by, data, total };
}

/** Sums up by account, the dearest first. At most 1,000 accounts have a row, but the total includes all. */
export async function usageByAccount(c: Context<AppEnv>, days: Omit<UsageQuery, 'group_by'>): Promise<UsageReport> {
  const data: UsageReport['data'] = [];
  let total = NO_TOTAL;
  for await (const { account, report } of reportsOfAll(c, { ...days, group_by: 'day' })) {
    total = addTotals(total, report.total);
    if (report.total.requests > 0) data.push({ key: account, ...report.total });
  }
  data.sort((left, right) => right.cost_usd - left.cost_usd || byKey(left, right));
  const { from = null, to = null } = days;
  return { from, to, group_by: 'account', data: data.slice(0, MOST_LISTED_VALUES), total };
}

async function* reportsOfAll(
  c: Context<AppEnv>,
  query: UsageQuery,
): AsyncGenerator<{ account: string; report: UsageReport }> {
  const names: string[] = [];
  for await (const name of accountList.all(c.env.STORE)) names.push(name);
  for (let at = 0; at < names.length; at += ACCOUNTS_AT_ONCE) {
    yield* await Promise.all(
      names.slice(at, at + ACCOUNTS_AT_ONCE).map(async (account) => ({
        account,
        report: await accountOf(c, account)((object) => object.usage(query)),
      })),
    );
  }
}

function byKey({ key: left }: { key: string | null }, { key: right }: { key: string | null }): number {
  if (left === right) return 0;
  return left === null || (right !== null && left < right) ? -1 : 1;
}

type UsageGroupSums = Omit<UsageReport['data'][number], 'key'>;

function addGroups(left: UsageGroupSums, right: UsageGroupSums): UsageGroupSums {
  const { calls, errors, ms } = left;
  const total = addTotals(left, right);
  if (calls === undefined) return total;
  return {
    ...total,
    calls: calls + (right.calls ?? 0),
    errors: (errors ?? 0) + (right.errors ?? 0),
    ms: (ms ?? 0) + (right.ms ?? 0),
  };
}

function addTotals(left: UsageReport['total'], right: UsageReport['total']): UsageReport['total'] {
  const usage = { ...left.usage };
  for (const kind of Object.keys(usage) as (keyof typeof usage)[]) usage[kind] += right.usage[kind];
  return {
    requests: left.requests + right.requests,
    // Dollars are added as whole nanodollars, because only those sums are exact.
    cost_usd: toUsd(fromUsd(left.cost_usd) + fromUsd(right.cost_usd)),
    usage,
  };
}
