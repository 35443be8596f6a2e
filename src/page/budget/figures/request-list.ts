/** Loads an account's requests on the chosen days. */
import { effect, signal, untracked } from '@preact/signals';
import type { ListedRequest } from '../../../client/index.ts';
import { ofAccount } from '../../edge/account.ts';
import { edge } from '../../edge/client.ts';
import { poll, pollNow } from '../../edge/poll.ts';
import { chosenDays } from './days.ts';
import { account } from './report.ts';

const REQUESTS_EVERY_MS = 2_000;
const REQUESTS_A_PAGE = 20;
/** How much is shown before and after a minute. */
const AROUND_MS = 5 * 60_000;
const MOST_REQUESTS_SHOWN = 1_000;

/** Which requests are listed: all of an account, what of it was refused or has failed, or that of all accounts. */
export type ListedKind = 'all' | ListedOutcome | `${ListedOutcome} of all`;
type ListedOutcome = 'refused' | 'failed';
export const listedKind = signal<ListedKind>('all');
/** The credential (its jti) whose requests are listed; empty for all of them. */
export const tokenListed = signal('');
/** The minute around which is looked, `YYYY-MM-DDTHH:MM` in UTC; empty for the chosen days. */
export const minuteListed = signal('');
/** Newest first; undefined until they are known. */
export const requests = signal<ListedRequest[] | undefined>(undefined);
export const hasMoreRequests = signal(false);
export const requestsFault = signal<string | undefined>(undefined);
const wantedRequests = signal(REQUESTS_A_PAGE);

/** Keeps them up to date while the page is visible. */
export function keepRequests(): () => void {
  return effect(() => {
    const kind = listedKind.value;
    const days = timesAround(minuteListed.value) ?? chosenDays();
    // No token is known of all accounts.
    const ofOne = { ...ofAccount(account.value), ...(tokenListed.value === '' ? {} : { token: tokenListed.value }) };
    const query = { ...days, ...(isOfAll(kind) ? {} : ofOne) };
    const outcome = kind.startsWith('failed') ? 'failed' : 'refused';
    return untracked(() => {
      // What is known of another account, or of other days, is not shown as these.
      requests.value = undefined;
      wantedRequests.value = REQUESTS_A_PAGE;
      return poll(
        async (isCurrent) => {
          const limit = wantedRequests.value;
          const lists = await Promise.all([
            edge().requests({ ...query, outcome, limit }),
            ...(kind === 'all' ? [edge().requests({ ...query, limit })] : []),
          ]);
          if (!isCurrent()) return;
          const rows = lists.flatMap(({ data }) => data);
          rows.sort((left, right) => (left.created_at < right.created_at ? 1 : -1));
          requests.value = rows.slice(0, limit);
          const hasMore = rows.length > limit || lists.some(({ has_more }) => has_more);
          hasMoreRequests.value = hasMore && limit < MOST_REQUESTS_SHOWN;
        },
        REQUESTS_EVERY_MS,
        requestsFault,
      );
    });
  });
}

/** @returns whether requests of all accounts are listed */
export function isOfAll(kind: ListedKind): boolean {
  return kind.endsWith('of all');
}

/** Has ten times as many listed. */
export function listMoreRequests(): void {
  wantedRequests.value = Math.min(MOST_REQUESTS_SHOWN, wantedRequests.value * 10);
  pollNow();
}

/** @returns the minutes before and after one; undefined if none is chosen, or it is no time */
function timesAround(minute: string): { from: string; to: string } | undefined {
  const at = Date.parse(`${minute}Z`);
  if (Number.isNaN(at)) return undefined;
  const [from = '', to = ''] = [at - AROUND_MS, at + AROUND_MS].map((time) => new Date(time).toISOString());
  return { from, to };
}
