/** Decides in which order upstreams are tried. */

import type { ConfiguredUpstream } from '../providers/entry.ts';
import type { BreakerState, CircuitBreaker } from './breaker.ts';
import type { UpstreamPool } from './pool.ts';

/** The state that determines an upstream's position in the order. */
export interface UpstreamCandidate {
  name: string;
  state: BreakerState;
  /** When its breaker becomes half open; milliseconds since 1970. */
  dueAt: number;
  /** Whether it has as many requests running as it may. */
  isFull: boolean;
  /** Whether an attempt that may have run has failed there a short time ago, and none was answered since. */
  isDoubtful: boolean;
}

/**
 * Orders the upstreams that could answer a request. First the one that has the request's prompt in its cache, then the others
 * in the configured order. A half-open one keeps its place, since one request must find out whether it works again. Full ones
 * are left out.
 *
 * @param cachedAt the names of the upstreams that have the request's prompt in their caches
 * @param isOnlyTry whether no other attempt can follow one that may have run. Then a doubtful upstream is tried after the
 *   others: the client itself sends such a request again, and it must not fail at the same upstream each time
 * @returns `available`: those to try; `open`: those whose breaker is open, by the time of their next probe, to try if nothing else
 *   is left
 */
export function orderUpstreams<T extends UpstreamCandidate>(
  candidates: readonly T[],
  cachedAt: readonly string[],
  isOnlyTry = false,
): { available: T[]; open: T[] } {
  const roomy = candidates.filter(({ isFull }) => !isFull);
  const well = roomy.filter(({ state }) => state !== 'open');
  const open = roomy.filter(({ state }) => state === 'open').sort((left, right) => left.dueAt - right.dueAt);
  const home = well.findIndex(({ name, state }) => cachedAt.includes(name) && state === 'closed');
  if (home > 0) well.unshift(...well.splice(home, 1));
  if (isOnlyTry) well.sort((left, right) => Number(left.isDoubtful) - Number(right.isDoubtful));
  return { available: well, open };
}

/** Replaces every model that no table has. Otherwise callers could make any number of breakers. */
const UNKNOWN_MODEL = '(unknown)';

/** An upstream that can take a request, with its breaker for the request's model. */
export interface UpstreamChoice extends UpstreamCandidate {
  upstream: ConfiguredUpstream;
  breaker: CircuitBreaker;
}

/**
 * @param model the model as the request names it; undefined if it names none
 * @param now milliseconds since 1970
 */
export function createCandidates(
  { health, models }: UpstreamPool,
  upstreams: readonly ConfiguredUpstream[],
  model: string | undefined,
  now: number,
): UpstreamChoice[] {
  const key = model === undefined ? '' : (models.findRow(model)?.id ?? UNKNOWN_MODEL);
  return upstreams.map((upstream) => {
    const { name, entry } = upstream;
    const breaker = health.getBreaker(name, key);
    const isFull = entry.max_concurrent !== undefined && health.countRunning(name, now) >= entry.max_concurrent;
    // A half-open breaker permits a single call as its probe. While another request's call is the probe, treat this breaker as
    // open.
    const state = breaker.canAcquirePermit(now) ? breaker.getState(now) : 'open';
    const isDoubtful = breaker.isDoubtful(now);
    return { name, upstream, breaker, state, dueAt: breaker.nextProbeAt, isFull, isDoubtful };
  });
}
