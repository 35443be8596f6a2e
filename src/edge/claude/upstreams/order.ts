/** Decides in which order upstreams are tried. */

import type { BreakerState } from './breaker.ts';

/** What decides an upstream's place in the order. */
export interface TryCandidate {
  name: string;
  state: BreakerState;
  /** When its breaker becomes half open; milliseconds since 1970. */
  dueAt: number;
  /** Whether it has as many requests running as it may. */
  isFull: boolean;
  /** Whether a try that may have run has failed there a short time ago, and none was answered since. */
  isDoubtful: boolean;
}

/**
 * Orders the upstreams that could answer a request. First comes the one that has the request's prompt cache, then the others
 * as they are configured. A half-open one keeps its place, since one request must find out whether it works again. Full ones
 * are left out.
 *
 * @param stays the name of the upstream that has the cache of this request
 * @param isOnlyTry whether no other try can follow one that may have run. Then a doubtful upstream stands behind the others:
 *   the client itself sends such a request again, and it must not fail at the same upstream each time
 * @returns `well`: those to try; `open`: those whose breaker is open, by the time of their next probe, to try if nothing else
 *   is left
 */
export function orderOfTries<T extends TryCandidate>(
  candidates: readonly T[],
  stays: string | undefined,
  isOnlyTry = false,
): { well: T[]; open: T[] } {
  const roomy = candidates.filter(({ isFull }) => !isFull);
  const well = roomy.filter(({ state }) => state !== 'open');
  const open = roomy.filter(({ state }) => state === 'open').sort((left, right) => left.dueAt - right.dueAt);
  const home = well.findIndex(({ name, state }) => name === stays && state === 'closed');
  if (home > 0) well.unshift(...well.splice(home, 1));
  if (isOnlyTry) well.sort((left, right) => Number(left.isDoubtful) - Number(right.isDoubtful));
  return { well, open };
}
