/** Milliseconds after which shown deltas are stored at first, and at the latest. A crash loses the deltas since then. */
const [SOONEST_MS, LATEST_MS] = [2_000, 4_000];
/** The same if the request has server tools. */
const SERVER_TOOL_STORE_MS = 250;

/**
 * Milliseconds after which a log's newest row is touched while a server tool runs, so that its time limits the loss of a crash.
 */
export const TOUCH_MS = 4_000;

/**
 * @param writtenMs how long the answer had been written when it was last stored
 * @param isServed whether the request has server tools. Their unseen time is expensive, so it must be short
 * @returns after how many milliseconds the answer is stored again: as many as it has taken so far, so that a long answer is
 *   stored rarely and a crash loses little of a short one
 */
export function computeStoreDelayMs(writtenMs: number, isServed = false): number {
  if (isServed) return SERVER_TOOL_STORE_MS;
  return Math.min(Math.max(writtenMs, SOONEST_MS), LATEST_MS);
}
