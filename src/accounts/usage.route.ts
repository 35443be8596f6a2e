import type { Context } from 'hono';
import { hasScope } from '../auth/authenticate.ts';
import type { AppEnv } from '../auth/context.ts';
import { check } from '../http/check.ts';
import { notFound } from '../http/errors.ts';
import { Hono } from '../http/hono.ts';
import { readPage } from '../http/page.ts';
import type * as z from '../http/zod.ts';
import { names } from '../kv/account-list.ts';
import { fromUsd, toUsd } from '../pricing/cost.ts';
import { accountOf, ownOrAny } from './accounts.route.ts';
import { usageQuery } from './usage.schema.ts';
import type { UsageReport } from './usage-answers.schema.ts';

/** Accounts whose ledgers are asked at the same time. */
const ACCOUNTS_AT_ONCE = 20;

/** What was spent: one's own; an admin's is that of any account, or the sum of all. */
export function usageRoutes() {
  return new Hono<AppEnv>()
    .get('/usage', async (c) => {
      const { account, ...query } = check(usageQuery, c.req.query());
      const identity = c.get('identity');
      if (account === undefined && hasScope(identity, 'admin')) return c.json(await usageOfAll(c, query));
      const id = ownOrAny(c, account ?? identity.account);
      return c.json(await accountOf(c, id)((object) => object.usage(query)));
    })
    .get('/usage/requests', async (c) => {
      const page = readPage(c.req.query());
      return c.json(await accountOf(c, accountAsked(c))((object) => object.requests(page)));
    })
    .get('/usage/requests/:request_id', async (c) => {
      const row = await accountOf(c, accountAsked(c))((object) => object.request(c.req.param('request_id')));
      if (!row) throw notFound('This account has no such request. Ask by the id in the header sluice-request-id.');
      return c.json(row);
    });
}

function accountAsked(c: Context<AppEnv>): string {
  return ownOrAny(c, c.req.query('account') ?? c.get('identity').account);
}

async function usageOfAll(
  c: Context<AppEnv>,
  query: Omit<z.output<typeof usageQuery>, 'account'>,
): Promise<UsageReport> {
  const accounts: string[] = [];
  for await (const name of names(c.env.STORE)) accounts.push(name);
  const sums = new Map<string | null, UsageReport['total']>();
  let total = emptyTotal();
  for (let at = 0; at < accounts.length; at += ACCOUNTS_AT_ONCE) {
    const reports = await Promise.all(
      accounts.slice(at, at + ACCOUNTS_AT_ONCE).map((name) => accountOf(c, name)((object) => object.usage(query))),
    );
    for (const report of reports) {
      total = addTotals(total, report.total);
      for (const { key, ...group } of report.data) sums.set(key, addTotals(sums.get(key) ?? emptyTotal(), group));
    }
  }
  const data = [...sums].map(([key, group]) => ({ key, ...group }));
  data.sort((left, right) => (query.group_by === 'day' ? 0 : right.cost_usd - left.cost_usd) || byKey(left, right));
  return { from: query.from ?? null, to: query.to ?? null, group_by: query.group_by, data, total };
}

function byKey({ key: left }: { key: string | null }, { key: right }: { key: string | null }): number {
  if (left === right) return 0;
  return left === null || (right !== null && left < right) ? -1 : 1;
}

function emptyTotal(): UsageReport['total'] {
  return {
    requests: 0,
    cost_usd: 0,
    usage: {
      input_tokens: 0,
      output_tokens: 0,
      cache_read_input_tokens: 0,
      cache_write_5m_input_tokens: 0,
      cache_write_1h_input_tokens: 0,
      thinking_tokens: 0,
      web_search_requests: 0,
    },
  };
}

function addTotals(left: UsageReport['total'], right: UsageReport['total']): UsageReport['total'] {
  const kinds = Object.keys(left.usage) as (keyof typeof left.usage)[];
  const usage = { ...left.usage };
  for (const kind of kinds) usage[kind] += right.usage[kind];
  return {
    requests: left.requests + right.requests,
    // Sums of dollars are exact as whole nanodollars only.
    cost_usd: toUsd(fromUsd(left.cost_usd) + fromUsd(right.cost_usd)),
    usage,
  };
}
