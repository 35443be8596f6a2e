/** In Node, because workerd collects no garbage on request: `test/e2e/memory.night.test.ts` tests the same there. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { SentHistory } from '#edge/claude/request/sent-history.ts';
import {
  type CachedHistory,
  deleteHistoryAfterOwner,
  historyCache,
} from '#edge/conversations/history/storage/history-cache.ts';

const HISTORY: CachedHistory = {
  model: 'm',
  isForLoop: false,
  from: 0,
  history: SentHistory.EMPTY,
  tail: [],
  lastTurn: undefined,
  frozen: { system: undefined, tools: undefined, runs: undefined },
};

/** Caches a history. @returns the object that owns it, and its key */
function addOwnedHistory(): { owner: object; key: object } {
  const [owner, key] = [{}, {}];
  deleteHistoryAfterOwner(owner, key);
  historyCache.set(key, HISTORY);
  return { owner, key };
}

test('the cached history of an evicted object is deleted, and that of an object in memory is kept', async () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const kept = addOwnedHistory();
  const { key } = addOwnedHistory();
  await expect
    .poll(() => {
      collectGarbage();
      return historyCache.has(key);
    })
    .toBe(false);
  expect(historyCache.has(kept.key)).toBe(true);
  historyCache.delete(kept.key);
  expect(kept.owner).toBeDefined();
});
