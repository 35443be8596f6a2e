/** Lists rejected and failed requests of all accounts, so that an admin can look up what a user reports. */

import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import type { ListPage } from '../../durable/page.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { parseTimeOfRequestId } from '../../kit/http/headers/request-id.ts';
import { createPageResponse, type ListPageQuery } from '../../kit/http/page.ts';
import type { RequestFailureKind, RequestsFilter } from '../contracts/account.ts';
import { type AccountLastFailure, requireAllAccountsPlugin } from '../contracts/all-accounts.ts';
import { createAccountCaller } from '../contracts/call-account.ts';
import { toTimeRange } from '../ledger/queries.ts';
import type { ListedRequest } from './usage-answers.schema.ts';

/** How many accounts are queried at the same time, and the maximum for a page. */
const CONCURRENT_ACCOUNTS = 5;
const MAX_ACCOUNTS = 200;
/** The clock that an id was made by may be ahead of its account's by less than this. Milliseconds. */
const MAX_ID_CLOCK_SKEW_MS = 10_000;

/** A page of the requests of several accounts. */
interface AllAccountsRequestPage extends ListPage<ListedRequest> {
  /** Continues with the accounts that were not asked; null if all were that can have a request of this page. */
  accounts_after: string | null;
}

/**
 * Lists the rejected or failed requests of all accounts, newest first. It queries the accounts, beginning with the one with the
 * newest such request, until no other can have a newer one than the page already contains, or until it has queried
 * `MAX_ACCOUNTS`.
 *
 * @param accountsAfter the account at which an earlier page stopped
 * @throws ApiError 400 for a malformed `accountsAfter`
 */
export async function listFailedRequestsOfAllAccounts(
  c: Context<AppEnv>,
  { limit, ...edge }: ListPageQuery,
  { accountsAfter, ...filter }: RequestsFilter & { outcome: RequestFailureKind; accountsAfter?: string | undefined },
): Promise<AllAccountsRequestPage> {
  const isBackwards = edge.before_id !== undefined;
  const sign = isBackwards ? 1 : -1;
  const [begin] = toTimeRange(filter);
  // Leave out accounts whose newest such request is older than `before_id`: they have no row for this page.
  const from = Math.max(begin, (parseTimeOfRequestId(edge.before_id ?? '') ?? 0) - MAX_ID_CLOCK_SKEW_MS);
  const after = accountsAfter === undefined ? undefined : parseAccountsCursor(accountsAfter);
  const last = { outcome: filter.outcome, from, after, limit: MAX_ACCOUNTS + 1 };
  const accounts = await requireAllAccountsPlugin().findAccountsByLastFailure(c, last);
  let rows: ListedRequest[] = [];
  let asked = 0;
  let isComplete = false;
  while (asked < Math.min(accounts.length, MAX_ACCOUNTS)) {
    const some = accounts.slice(asked, Math.min(asked + CONCURRENT_ACCOUNTS, MAX_ACCOUNTS));
    const oldest = parseTimeOfRequestId(rows[limit]?.request_id ?? '');
    // `at` is the time of an account's newest matching request, and the accounts are sorted by it. If the oldest row of the
    // page is newer than that of the next account, no further account has a row for the page. For older pages (`before_id`)
    // this says nothing.
    isComplete = !isBackwards && oldest !== undefined && oldest > (some[0]?.at ?? 0) + MAX_ID_CLOCK_SKEW_MS;
    if (isComplete) break;
    const lists = await Promise.all(
      some.map(async ({ account }) => {
        const list = await createAccountCaller(
          c,
          account,
        )((object) => object.listRequests({ ...edge, limit: limit + 1 }, filter));
        return list.data.map((row) => ({ ...row, account }));
      }),
    );
    asked += some.length;
    rows.push(...lists.flat());
    rows.sort((left, right) => (left.request_id < right.request_id ? -sign : sign));
    rows = rows.slice(0, limit + 1);
  }
  const end = isComplete || asked === accounts.length ? undefined : accounts[asked - 1];
  const page = createPageResponse(rows, limit, isBackwards, ({ request_id }) => request_id);
  return { ...page, accounts_after: end === undefined ? null : createAccountsCursor(end) };
}

/** @returns an account and when its last request was, as callers send it back */
function createAccountsCursor({ at, account }: AccountLastFailure): string {
  return `${at}-${account}`;
}

/** @throws ApiError 400 for anything that `createAccountsCursor` does not return */
function parseAccountsCursor(text: string): AccountLastFailure {
  const [, at, account] = /^(\d{1,16})-(.+)$/s.exec(text) ?? [];
  if (at === undefined || account === undefined) {
    throw createInvalidRequestError('accounts_after: not a cursor. Send the `accounts_after` of the previous page.');
  }
  return { at: Number(at), account };
}
