/** The list of groups in KV: a key for each that was given limits. */

import { type AccountPage, readAccounts } from './account-list.ts';

const GROUP_PREFIX = 'group:';

/** Puts a group on the list. */
export async function listGroup(store: KVNamespace, group: string): Promise<void> {
  await store.put(GROUP_PREFIX + group, '');
}

/** Takes a group off the list. */
export async function unlistGroup(store: KVNamespace, group: string): Promise<void> {
  await store.delete(GROUP_PREFIX + group);
}

/** Reads a page of the list, as `readAccounts`. */
export async function readGroups(store: KVNamespace, page: Parameters<typeof readAccounts>[1]): Promise<AccountPage> {
  return await readAccounts(store, page, GROUP_PREFIX);
}
