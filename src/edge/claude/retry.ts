/** Decides whether a failed attempt is worth another one at the same upstream, and how long to wait before it. */

import { type ClassifiedResponse, classifyFailure } from './classify-failure.ts';

/** If the upstream requests a longer wait than these milliseconds, its response is returned to the caller, who can wait. */
export const MAX_RETRY_WAIT_MS = 10_000;
const FIRST_WAIT_MS = 500;
const MAX_BACKOFF_MS = 8_000;
/** The kinds of failure that may pass by themselves. */
export const TRANSIENT_KINDS: ReadonlySet<ClassifiedResponse['kind']> = new Set(['again', 'down', 'overloaded']);

/**
 * @param patienceMs the longest wait to accept, if the upstream requests one
 * @returns milliseconds to wait before the next attempt; undefined if there must be no other attempt
 */
export function computeRetryWaitMs(
  response: Pick<Response, 'status' | 'headers'> | undefined,
  attempt: number,
  patienceMs: number = MAX_RETRY_WAIT_MS,
  random: () => number = Math.random,
): number | undefined {
  const backoff = Math.min(FIRST_WAIT_MS * 2 ** attempt, MAX_BACKOFF_MS) * (1 - random() * 0.25);
  if (!response) return backoff;
  const judged = classifyFailure(response, { text: '', elapsedMs: 0 });
  const shouldRetry = response.headers.get('x-should-retry');
  if (!TRANSIENT_KINDS.has(judged.kind) || shouldRetry === 'false') return undefined;
  const { waitMs } = judged;
  if (waitMs !== undefined) return waitMs > patienceMs ? undefined : waitMs;
  return response.status === 429 && shouldRetry !== 'true' ? undefined : backoff;
}
