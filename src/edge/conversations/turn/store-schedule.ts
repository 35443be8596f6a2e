/** Milliseconds after which shown deltas are stored at first, and at the latest. After a crash they are what is lost. */
const [SOONEST_MS, LATEST_MS] = [2_000, 4_000];
/** The same where the API has tools of its own. */
const SERVER_TOOL_STORE_MS = 250;

/** Milliseconds after which a log's newest row is touched while a tool of the API runs, so that a crash tells when it was. */
export const TOUCH_MS = 4_000;

/**
 * @param writtenMs how long the answer had been written when it was stored last
 * @param isServed whether the API has tools of its own. Then time that nobody saw is too dear for anything but a short time
 * @returns after how many milliseconds it is stored again: after as many, so that a long answer is stored seldom, and a crash
 *   loses little of a short one
 */
export function computeStoreDelayMs(writtenMs: number, isServed = false): number {
  if (isServed) return SERVER_TOOL_STORE_MS;
  return Math.min(Math.max(writtenMs, SOONEST_MS), LATEST_MS);
}
