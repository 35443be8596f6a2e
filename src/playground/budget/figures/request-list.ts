/** Loads an account's requests on the chosen days. */
import { effect, signal, untracked } from '@preact/signals';
import type { ListedRequest } from '../../../client/index.ts';
import { edge } from '../../edge/client.ts';
import { poll, pollNow } from '../../edge/poll.ts';
import { chosenDays } from './days.ts';
import { account } from './report.ts';

const REQUESTS_EVERY_MS = 2_000;
const REQUESTS_A_PAGE = 20;
const MOST_REQUESTS_SHOWN = 1_000;

/** Which requests are listed: those that went up, or those that this edge has refused. */
export const listedKind = signal<'sent' | 'refused'>('sent');
/** Newest first; undefined until they are known. */
export const requests = signal<ListedRequest[] | undefined>(undefined);
export const hasMoreRequests = signal(false);
export const requestsFault = signal<string | undefined>(undefined);
const wantedRequests = signal(REQUESTS_A_PAGE);

/** Keeps them up to date while the page is visible. */
export function keepRequests(): () => void {
  return effect(() => {
    const query = {
      ...chosenDays(),
      account: account.value,
      ...(listedKind.value === 'refused' ? { status: 'refused' as const } : {}),
    };
    return untracked(() => {
      // What is known of another account, or of other days, is not shown as these.
      requests.value = undefined;
      wantedRequests.value = REQUESTS_A_PAGE;
      return poll(
        async (isCurrent) => {
          const page = await edge().requests({ ...query, limit: wantedRequests.value });
          if (!isCurrent()) return;
          requests.value = page.data;
          hasMoreRequests.value = page.has_more && wantedRequests.value < MOST_REQUESTS_SHOWN;
        },
        REQUESTS_EVERY_MS,
        requestsFault,
      );
    });
  });
}

/** Has ten times as many listed. */
export function listMoreRequests(): void {
  wantedRequests.value = Math.min(MOST_REQUESTS_SHOWN, wantedRequests.value * 10);
  pollNow();
}
