/** Keeps which requests of an account are listed. */
import { signal } from '@preact/signals';
import type { ListedRequest, Page } from '../../../client/index.ts';
import { ofAccount } from '../../edge/account.ts';
import { readJson } from '../../edge/client.ts';

/** Which requests of an account are listed. */
export type RequestKind = 'sent' | 'refused' | 'failed';

export const listedKind = signal<RequestKind>('sent');

/** Lists an account's refused requests where one is newer than all that it has sent: nobody overlooks them. */
export async function listNewest(account: string): Promise<void> {
  listedKind.value = 'sent';
  const newest = async (query: { outcome?: 'refused' }) => {
    const { data } = await readJson<Page<ListedRequest>>('/usage/requests', {
      query: { ...ofAccount(account), ...query, limit: 1 },
    });
    return data[0]?.created_at ?? '';
  };
  // Without both the list stands as it is, and says itself why it cannot be read.
  const [sent, refused] = await Promise.all([newest({}), newest({ outcome: 'refused' })]).catch(() => ['', '']);
  if (refused > sent && listedKind.value === 'sent') listedKind.value = 'refused';
}
