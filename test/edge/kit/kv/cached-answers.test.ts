import { env } from 'cloudflare:workers';
import { expect, test } from 'vitest';
import {
  cacheAnswer,
  computeCachedAnswerId,
  deleteCachedAnswersPage,
  readCachedAnswer,
} from '#edge/kit/kv/cached-answers.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';

const { STORE } = env as unknown as Bindings;
const ANSWER = { label: 'bug' };

test('deletes all cached answers of an account page by page, and none of accounts with similar names', async () => {
  // As long as a hash, and before every hash in the order of the keys.
  const others = ['alice:0', 'alice:'];
  // A page and a little more.
  const hashes = await Promise.all(Array.from({ length: 520 }, (_, n) => computeCachedAnswerId([n])));
  const keepAll = async (account: string, kept: readonly string[]) =>
    await Promise.all(kept.map((hash) => cacheAnswer(STORE, account, hash, ANSWER, 3_600)));
  for (const account of [...others, 'alice']) await keepAll(account, hashes);
  // No prefix of alice's finds these.
  await keepAll('alic', hashes.slice(0, 1));
  let cursor: string | undefined;
  let pages = 0;
  do {
    cursor = await deleteCachedAnswersPage(STORE, 'alice', cursor);
    pages += 1;
  } while (cursor !== undefined && pages < 20);
  expect(pages).toBeLessThan(20);
  for (const hash of hashes) expect(await readCachedAnswer(STORE, 'alice', hash)).toBeUndefined();
  for (const account of [...others, 'alic'])
    expect(await readCachedAnswer(STORE, account, hashes[0] ?? '')).toEqual(ANSWER);
});
