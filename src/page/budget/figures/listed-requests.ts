/** Keeps which requests of an account are listed. */

import { signal } from '@preact/signals';
import type { ListedRequest, Page } from '../../../client/index.ts';
import { createAccountQuery } from '../../edge/account.ts';
import { readJson } from '../../edge/client.ts';
import { createTokenSignal } from '../../edge/credential.ts';

/** Which requests of an account are listed. */
export type ListedRequestKind = 'sent' | 'refused' | 'failed';

export const listedRequestKind = signal<ListedRequestKind>('sent');
/** The token (its jti) whose requests are listed; empty for all of them. */
export const listedToken = createTokenSignal('');

/** Lists an account's rejected requests if one is newer than all sent ones, so that it is not overlooked. */
export async function listRefusedRequestsIfNewest(account: string): Promise<void> {
  listedRequestKind.value = 'sent';
  const readNewestTime = async (query: { outcome?: 'refused' }) => {
    const { data } = await readJson<Page<ListedRequest>>('/usage/requests', {
      query: { ...createAccountQuery(account), ...query, limit: 1 },
    });
    return data[0]?.created_at ?? '';
  };
  // If one of these requests fails, treat the list as unchanged. The list's own request shows the error.
  const [sent, refused] = await Promise.all([readNewestTime({}), readNewestTime({ outcome: 'refused' })]).catch(() => [
    '',
    '',
  ]);
  if (refused > sent && listedRequestKind.value === 'sent') listedRequestKind.value = 'refused';
}
