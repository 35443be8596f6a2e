/** Serves reports of usage from the ledger. Users see only their own usage. */

import type { Context } from 'hono';
import { hasScope } from '../../auth/authenticate.ts';
import type { AppEnv } from '../../auth/context.ts';
import { iterateAccountsOfMark } from '../../auth/find-account-by-mark.ts';
import { defineRoute } from '../../auth/route.ts';
import { addSums, toUsageTotal } from '../../claude/pricing/usage-sums.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { createInvalidRequestError, createNonRetryableError, createNotFoundError } from '../../kit/http/errors.ts';
import { extractAccountMark } from '../../kit/http/headers/request-id.ts';
import { parsePageQuery } from '../../kit/http/page.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { trimTrailing } from '../../kit/json/trim-trailing.ts';
import { getSinglePluginMember } from '../../kit/plugins/plugins.ts';
import { formatCalendarWindowId } from '../budget/windows.ts';
import type { DateRange } from '../contracts/account.ts';
import { requireAllAccountsPlugin } from '../contracts/all-accounts.ts';
import { createAccountCaller } from '../contracts/call-account.ts';
import { requireKnownAccount, resolveAccountId } from './accounts.route.ts';
import { hideOperatorMessage } from './hide-operator-message.ts';
import { listFailedRequestsOfAllAccounts } from './list-requests-of-all.ts';
import { accountQuery, isReportedGrouping, isSharedBudgetGrouping, requestsQuery, usageQuery } from './usage.schema.ts';
import type { LedgerRequest, LedgerRow, UsageReport } from './usage-answers.schema.ts';

/** How many accounts are searched for an upstream's id, and how many at the same time. */
const MAX_SEARCHED_ACCOUNTS = 200;
const CONCURRENT_SEARCHES = 5;

/** The routes of usage. A caller sees their own; an admin sees that of any account, or of all together. */
export const USAGE_ROUTES = [
  defineRoute('GET /usage', { needs: 'credential', query: usageQuery }, async (c, { query }) => {
    const { account, format, group, group_by, key, limit, from, to } = validateBySchema(query, c.req.query());
    const days = { from, to };
    const createUsageResponse = (whole: UsageReport) => {
      const all = key === undefined ? whole : filterReportByKey(whole, key);
      const report = { ...all, data: all.data.slice(0, limit) };
      return format === 'csv' ? createCsvResponse(report) : c.json(report);
    };
    if (isSharedBudgetGrouping(group_by) || group !== undefined) requireAccessToAllAccounts(c, account);
    if (isSharedBudgetGrouping(group_by) || (isAdminWithoutAccount(c) && isReportedGrouping(group_by))) {
      return createUsageResponse(
        await requireAllAccountsPlugin().getSharedUsage(c, { ...toWholeDays(days), group_by, group, key, limit }),
      );
    }
    if (group !== undefined)
      throw createInvalidRequestError(
        'group: not supported with group_by=conversation or tool, which need a single account. Remove it.',
      );
    const id = resolveAccountId(c, account ?? c.get('identity').account);
    const report = await createAccountCaller(c, id)((object) => object.getUsageReport({ ...days, group_by, key }));
    if (report.total.requests === 0) await requireKnownAccount(c, id);
    return createUsageResponse(report);
  }),
  defineRoute(
    'GET /usage/requests',
    { needs: 'credential', pages: true, query: requestsQuery },
    async (c, { query }) => {
      const page = parsePageQuery(c.req.query());
      const { outcome, from, to, token, accounts_after: accountsAfter } = validateBySchema(query, c.req.query());
      if (outcome && isAdminWithoutAccount(c)) {
        if (token !== undefined)
          throw createInvalidRequestError(
            'account: Field required with `token`, because a token belongs to one account.',
          );
        return c.json({
          ...(await listFailedRequestsOfAllAccounts(c, page, { outcome, from, to, accountsAfter })),
          account: null,
        });
      }
      if (accountsAfter !== undefined) {
        throw createInvalidRequestError(
          'accounts_after: supported only in an admin’s list of all accounts. Send an `outcome`, and remove `account`.',
        );
      }
      const id = getRequestedAccount(c);
      const list = await createAccountCaller(
        c,
        id,
      )((object) => object.listRequests(page, { outcome, from, to, token }));
      if (list.data.length === 0) await requireKnownAccount(c, id);
      const data = list.data.map((row) => hideOperatorMessage(row, c.get('identity')));
      return c.json({ ...list, data, account: id });
    },
  ),
  defineRoute('GET /usage/requests/:request_id', { needs: 'credential', query: accountQuery }, async (c) => {
    const id = c.req.param('request_id');
    const row = await (isAdminWithoutAccount(c)
      ? findRequestOfAnyAccount(c, id)
      : findRequestOfAccount(c, getRequestedAccount(c), id));
    if (!row) {
      throw createNotFoundError(
        'No ledger contains this request. Requests that were rejected for their body or token, or before their account was known, are only in the log. By the upstream’s id, you can find only failed requests of the 200 accounts that failed last. For others, add the `account`, or use the id in the header sluice-request-id.',
      );
    }
    const hide = <R extends LedgerRow>(one: R) => hideOperatorMessage(one, c.get('identity'));
    return c.json({ ...hide(row), tries: row.tries.map(hide) });
  }),
];

/** @throws ApiError 400 if a sum over all accounts is asked for one account, 403 if the caller may not see other accounts */
function requireAccessToAllAccounts(c: Context<AppEnv>, account: string | undefined): void {
  if (!hasScope(c.get('identity'), 'admin:read')) {
    throw createNonRetryableError(
      'permission_error',
      'group_by=account, group_by=group and `group` require the scope `admin:read`. Remove them, or use a token with this scope.',
    );
  }
  if (account !== undefined)
    throw createInvalidRequestError(
      'account: not supported with group_by=account, group_by=group or `group`, which sum all accounts. Remove it.',
    );
}

/** @returns the days of these times, by which the pool sums. */
function toWholeDays({ from, to }: DateRange): DateRange {
  const toDayId = (time: string, round: (days: number) => number) =>
    formatCalendarWindowId('day', round(Date.parse(time) / DAY_MS) * DAY_MS);
  return { from: from && toDayId(from, Math.floor), to: to && toDayId(to, Math.ceil) };
}

/** @returns a report of one of its groups alone */
function filterReportByKey(report: UsageReport, key: string): UsageReport {
  const data = report.data.filter((group) => group.key === key);
  const { key: _, ...total } = data[0] ?? { key, ...toUsageTotal(addSums([])) };
  return { ...report, data, total };
}

/** @returns whether the request is an admin's and names no account. */
function isAdminWithoutAccount(c: Context<AppEnv>): boolean {
  return c.req.query('account') === undefined && hasScope(c.get('identity'), 'admin:read');
}

/** Finds a request by the mark of the account in its id. */
async function findRequestOfAnyAccount(c: Context<AppEnv>, id: string): Promise<LedgerRequest | undefined> {
  const mark = extractAccountMark(id);
  if (mark === undefined) return await findFailedRequestByUpstreamId(c, id);
  for await (const account of iterateAccountsOfMark(c, mark)) {
    const row = await findRequestOfAccount(c, account, id);
    if (row) return row;
  }
  return undefined;
}

/** @returns a failed request by the upstream's id, which is in the errors that its SDK shows: of the accounts that failed last */
async function findFailedRequestByUpstreamId(
  c: Context<AppEnv>,
  upstreamId: string,
): Promise<LedgerRequest | undefined> {
  const own = await findRequestOfAccount(c, c.get('identity').account, upstreamId);
  if (own) return own;
  const query = { outcome: 'failed', from: 0, after: undefined, limit: MAX_SEARCHED_ACCOUNTS } as const;
  const searched = (await getSinglePluginMember('allAccounts')?.findAccountsByLastFailure(c, query)) ?? [];
  for (let at = 0; at < searched.length; at += CONCURRENT_SEARCHES) {
    const some = searched.slice(at, at + CONCURRENT_SEARCHES);
    const rows = await Promise.all(
      some.map(async ({ account }) => {
        const row = await createAccountCaller(
          c,
          account,
        )((object) => object.findRequestByUpstreamId(upstreamId, 'failed'));
        return row && { ...row, account };
      }),
    );
    const found = rows.find((row) => row !== undefined);
    if (found) return found;
  }
  return undefined;
}

/**
 * @param id this edge's, or the upstream's
 * @returns a request of an account, with the account's name if the caller is an admin
 */
async function findRequestOfAccount(
  c: Context<AppEnv>,
  account: string,
  id: string,
): Promise<LedgerRequest | undefined> {
  const isOwn = extractAccountMark(id) !== undefined;
  const row = await createAccountCaller(
    c,
    account,
  )((object) => (isOwn ? object.findRequest(id) : object.findRequestByUpstreamId(id)));
  return row && hasScope(c.get('identity'), 'admin:read') ? { ...row, account } : row;
}

function getRequestedAccount(c: Context<AppEnv>): string {
  return resolveAccountId(c, c.req.query('account') ?? c.get('identity').account);
}

/** @returns a report's groups as CSV (RFC 4180): first the names of the columns, then a line for each group. */
function createCsvResponse({ group_by, data, total }: UsageReport): Response {
  const kinds = Object.keys(total.usage) as (keyof typeof total.usage)[];
  const { ttft_within_ms: _ttft, waited_within_ms: _waited, ...times } = total.speed;
  const speeds = Object.keys(times) as (keyof typeof times)[];
  const calls = group_by === 'tool' ? (['calls', 'errors', 'ms'] as const) : [];
  const lines = [
    [group_by, 'requests', 'cost_usd', 'saved_usd', ...kinds, 'failed', ...speeds, ...calls],
    ...data.map(({ key, requests, cost_usd, saved_usd, usage, failed, speed, ...called }) => [
      key ?? '',
      requests,
      formatPlainDecimal(cost_usd),
      formatPlainDecimal(saved_usd),
      ...kinds.map((kind) => usage[kind]),
      failed,
      ...speeds.map((name) => speed[name]),
      ...calls.map((name) => called[name] ?? 0),
    ]),
  ];
  const text = lines.map((cells) => `${cells.map(formatCsvCell).join(',')}\r\n`).join('');
  return new Response(text, {
    headers: {
      'content-type': 'text/csv; charset=utf-8',
      'content-disposition': `attachment; filename="usage-by-${group_by}.csv"`,
    },
  });
}

/** Writes an amount in plain decimals, because a spreadsheet may read 1e-7 as text. */
function formatPlainDecimal(usd: number): string {
  return trimTrailing(trimTrailing(usd.toFixed(9), '0'), '.');
}

/**
 * Writes a cell. Callers choose some names, and a spreadsheet would run a formula, so one gets an apostrophe in front. Where lists
 * are separated by semicolons, a spreadsheet begins a cell behind each semicolon. A negative number is no formula.
 */
function formatCsvCell(value: string | number): string {
  const isName = typeof value === 'string' && !/^-\d+(?:\.\d+)?$/.test(value);
  const text = isName ? value.replaceAll(/(^|;)(?=["\s]*[=+\-@]|[\t\r])/g, "$1'") : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
