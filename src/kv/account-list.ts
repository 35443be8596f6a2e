/** The list of accounts in KV: one key for each, written once. It has only their names; the rest is in their objects. */

import { encoder } from '../http/bytes.ts';
import { storedKeys } from './keys.ts';

/** What the key of each account begins with. */
export const ACCOUNT_PREFIX = 'account:';
const MARK_PREFIX = 'mark:';

/** Puts an account on the list. */
export async function listAccount(store: KVNamespace, account: string): Promise<void> {
  await store.put(ACCOUNT_PREFIX + account, '');
}

/** Takes an account off the list. */
export async function unlistAccount(store: KVNamespace, account: string): Promise<void> {
  await store.delete(ACCOUNT_PREFIX + account);
}

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

/** A page of the list. */
export interface AccountPage {
  names: string[];
  hasMore: boolean;
}

/**
 * Reads a page of the list, in the order of the names (by their UTF-8 bytes, as KV sorts).
 *
 * @param page `after` or `before` is the name at the edge of another page
 */
export async function readAccounts(
  store: KVNamespace,
  page: { limit: number; after?: string | undefined; before?: string | undefined },
  prefix = ACCOUNT_PREFIX,
): Promise<AccountPage> {
  const { limit, after, before } = page;
  const found: string[] = [];
  // KV has no start key: a page further on is reached through those before it, a thousand names a step.
  for await (const name of names(store, prefix)) {
    if (before !== undefined && compareBytes(name, before) >= 0) break;
    if (after !== undefined && compareBytes(name, after) <= 0) continue;
    found.push(name);
    if (before === undefined && found.length > limit) break;
  }
  const hasMore = found.length > limit;
  return { names: before === undefined ? found.slice(0, limit) : found.slice(-limit), hasMore };
}

/** Yields every account on the list, in the order of KV. @param prefix names another list */
export async function* names(store: KVNamespace, prefix = ACCOUNT_PREFIX): AsyncGenerator<string> {
  yield* storedKeys(store, prefix);
}

function compareBytes(left: string, right: string): number {
  const [a, b] = [encoder.encode(left), encoder.encode(right)];
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
