/** Keeps lists of names in KV, with one key for each name, written once. Everything else is in the objects. */

import { encoder } from '../http/bytes.ts';

/** The longest key in KV: https://developers.cloudflare.com/kv/platform/limits */
const MAX_KEY_BYTES = 512;

/** A list of names, in the order of their UTF-8 bytes, as KV sorts. */
class KvNameList {
  /** The prefix of each of its keys. */
  readonly prefix: string;

  constructor(prefix: string) {
    this.prefix = prefix;
  }

  async addName(store: KVNamespace, name: string): Promise<void> {
    await store.put(this.prefix + name, '');
  }

  /** Takes a name off the list. */
  async removeName(store: KVNamespace, name: string): Promise<void> {
    await store.delete(this.prefix + name);
  }

  async has(store: KVNamespace, name: string): Promise<boolean> {
    const key = this.prefix + name;
    return encoder.encode(key).length <= MAX_KEY_BYTES && (await store.get(key)) !== null;
  }

  /** Yields every name on the list. */
  async *iterateNames(store: KVNamespace): AsyncGenerator<string> {
    for await (const { name } of iterateStoredKeys(store, this.prefix)) yield name;
  }

  /** Reads a page of the list. */
  async readNamePage(store: KVNamespace, page: KeyPageQuery): Promise<{ names: string[]; hasMore: boolean }> {
    const { keys, hasMore } = await readKeyPage(store, this.prefix, page);
    return { names: keys.map(({ name }) => name), hasMore };
  }
}

/** `after` or `before` is the name at the edge of another page. */
export interface KeyPageQuery {
  limit: number;
  after?: string | undefined;
  before?: string | undefined;
}

/** A key without its prefix, and what is stored with it. */
interface StoredKey {
  name: string;
  metadata: unknown;
}

/** @returns a page of the keys that begin with a prefix */
export async function readKeyPage(
  store: KVNamespace,
  prefix: string,
  { limit, after, before }: KeyPageQuery,
): Promise<{ keys: StoredKey[]; hasMore: boolean }> {
  const found: StoredKey[] = [];
  // KV lists by an opaque cursor and not from a given key, so read all keys in order, and skip those before the page.
  for await (const key of iterateStoredKeys(store, prefix)) {
    if (before !== undefined && compareByUtf8Bytes(key.name, before) >= 0) break;
    if (after !== undefined && compareByUtf8Bytes(key.name, after) <= 0) continue;
    found.push(key);
    if (before === undefined && found.length > limit) break;
  }
  const hasMore = found.length > limit;
  return { keys: before === undefined ? found.slice(0, limit) : found.slice(-limit), hasMore };
}

export const accountList = new KvNameList('account:');

/** The groups that were given limits. */
export const groupList = new KvNameList('group:');

/** The accounts of which tokens for operators were created over HTTP or used. */
export const operatorList = new KvNameList('operator:');

function compareByUtf8Bytes(left: string, right: string): number {
  const [a, b] = [encoder.encode(left), encoder.encode(right)];
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Yields the keys that begin with a prefix, without it, in the order of KV. KV gives a thousand of them at once. */
async function* iterateStoredKeys(store: KVNamespace, prefix: string): AsyncGenerator<StoredKey> {
  let cursor: string | undefined;
  do {
    const page = await store.list({ prefix, ...(cursor === undefined ? {} : { cursor }) });
    for (const { name, metadata } of page.keys) yield { name: name.slice(prefix.length), metadata };
    cursor = page.list_complete ? undefined : page.cursor;
  } while (cursor !== undefined);
}
