/** Which account a mark in a request's id stands for, as KV knows it. */

const MARK_PREFIX = 'mark:';

/** Notes which account has a mark, so that who asks by it need not go through the list. */
export async function noteMark(store: KVNamespace, mark: string, account: string): Promise<void> {
  await store.put(MARK_PREFIX + mark, account);
}

/** @returns the account that a mark was noted for last; null where none was. */
export async function accountByMark(store: KVNamespace, mark: string): Promise<string | null> {
  return await store.get(MARK_PREFIX + mark);
}

/** Forgets a mark. */
export async function forgetMark(store: KVNamespace, mark: string): Promise<void> {
  await store.delete(MARK_PREFIX + mark);
}
