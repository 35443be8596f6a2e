/** Lists in KV which accounts were erased, and until when: backups contain the list, so that no restore brings them back. */
import { DAY_MS } from '../async/durations.ts';
import { type KeyPageQuery, readKeyPage } from './name-list.ts';

const ERASURE_PREFIX = 'erasure:';
/** For how long the name of an erased account is known; milliseconds. */
const ERASURE_RETENTION_MS = 90 * DAY_MS;
/** The shortest lifetime of a key in KV, in milliseconds: https://developers.cloudflare.com/kv/api/write-key-value-pairs/ */
const MIN_TTL_MS = 60_000;

/** An account that was erased, with all that is not newer than `at`; milliseconds since 1970. */
interface ErasureListEntry {
  account: string;
  at: number;
}

/** Lists an erasure for 90 days. A later one of the same account replaces it. One that is older than that is not listed. */
export async function addToErasureList(store: KVNamespace, account: string, at: number): Promise<void> {
  const leftMs = at + ERASURE_RETENTION_MS - Date.now();
  if (leftMs < MIN_TTL_MS) return;
  await store.put(ERASURE_PREFIX + account, '', { metadata: { at }, expirationTtl: Math.ceil(leftMs / 1_000) });
}

/** @returns a page of the erasures, in the order of the names of their accounts */
export async function readErasureListPage(
  store: KVNamespace,
  page: KeyPageQuery,
): Promise<{ erasures: ErasureListEntry[]; hasMore: boolean }> {
  const { keys, hasMore } = await readKeyPage(store, ERASURE_PREFIX, page);
  const all = keys.map(({ name, metadata }) => ({ account: name, at: (metadata as { at: number }).at }));
  return { erasures: all, hasMore };
}
