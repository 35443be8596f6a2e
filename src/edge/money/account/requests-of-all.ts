import type { Context } from 'hono';
import type { AppEnv } from '../../gate/auth/context.ts';
import { timeOfRequestId } from '../../kit/http/headers/request-id.ts';
import { type PageQuery, pageOfSelected } from '../../kit/http/page.ts';
import type { Page } from '../../objects/page.ts';
import type { ListedOutcome, RequestsFilter } from '../contracts/account.ts';
import { allAccounts } from '../contracts/all-accounts.ts';
import { accountOf } from '../contracts/call-account.ts';
import { timesOfDays } from '../ledger/queries.ts';
import type { ListedRequest } from './usage-answers.schema.ts';

/** How many accounts are asked at the same time. */
const ACCOUNTS_AT_ONCE = 5;
/** The clock that an id was made by may be ahead of its account's by less than this. Milliseconds. */
const AHEAD_MS = 10_000;

/**
 * Lists what was refused, or failed, of all accounts, newest first. It asks the accounts, the one with the newest such request
 * first, until no other can have a newer one than the page already has.
 */
export async function requestsOfAll(
  c: Context<AppEnv>,
  { limit, ...edge }: PageQuery,
  filter: RequestsFilter & { outcome: ListedOutcome },
): Promise<Page<ListedRequest>> {
  const isBackwards = edge.before_id !== undefined;
  const sign = isBackwards ? 1 : -1;
  const [from] = timesOfDays(filter);
  const accounts = await allAccounts().lastOf(c, filter.outcome, from);
  let rows: ListedRequest[] = [];
  for (let at = 0; at < accounts.length; at += ACCOUNTS_AT_ONCE) {
    const some = accounts.slice(at, at + ACCOUNTS_AT_ONCE);
    const last = timeOfRequestId(rows[limit]?.request_id ?? '');
    // What comes before a row is not told by when an account's last was.
    if (!isBackwards && last !== undefined && last > (some[0]?.at ?? 0) + AHEAD_MS) break;
    const lists = await Promise.all(
      some.map(async ({ account }) => {
        const list = await accountOf(c, account)((object) => object.requests({ ...edge, limit: limit + 1 }, filter));
        return list.data.map((row) => ({ ...row, account }));
      }),
    );
    rows.push(...lists.flat());
    rows.sort((left, right) => (left.request_id < right.request_id ? -sign : sign));
    rows = rows.slice(0, limit + 1);
  }
  return pageOfSelected(rows, limit, isBackwards, ({ request_id }) => request_id);
}
