/** In which order the upstreams are tried that could answer a request. */

import type { BreakerState } from './breaker.ts';

/** An upstream as its order is found by. */
export interface TryCandidate {
  name: string;
  state: BreakerState;
  /** When its breaker is half open; milliseconds since 1970. */
  dueAt: number;
  /** Whether it has as many requests running as it may. */
  isFull: boolean;
}

/**
 * Orders upstreams. First the one where the request's cache is, then as they are configured, each while it is well; a
 * half-open one keeps its place, since one request must find out whether it is back. What has no room is left out.
 *
 * @param stays the upstream where the cache of this request is
 * @returns those to try, and those whose breaker is open: to be tried where there is nothing else, the one first that is due
 * first
 */
export function orderOfTries<T extends TryCandidate>(
  candidates: readonly T[],
  stays: string | undefined,
): { well: T[]; open: T[] } {
  const roomy = candidates.filter(({ isFull }) => !isFull);
  const well = roomy.filter(({ state }) => state !== 'open');
  const open = roomy.filter(({ state }) => state === 'open').sort((left, right) => left.dueAt - right.dueAt);
  const home = well.findIndex(({ name, state }) => name === stays && state === 'closed');
  if (home > 0) well.unshift(...well.splice(home, 1));
  return { well, open };
}
