/** Keeps in KV which account a mark in a request's id belongs to. */

const MARK_PREFIX = 'mark:';

/** Stores which account has a mark, so that a search by the mark need not read the list of accounts. */
export async function storeMark(store: KVNamespace, mark: string, account: string): Promise<void> {
  await store.put(MARK_PREFIX + mark, account);
}

/** @returns the account that was last noted for a mark; null if there is none. */
export async function findAccountByMark(store: KVNamespace, mark: string): Promise<string | null> {
  return await store.get(MARK_PREFIX + mark);
}

export async function deleteMark(store: KVNamespace, mark: string): Promise<void> {
  await store.delete(MARK_PREFIX + mark);
}
