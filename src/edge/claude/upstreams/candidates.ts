/** Lists the upstreams that can take a request, with what this isolate knows about them now. */

import type { OpenUpstream } from '../kinds/entry.ts';
import type { Breaker } from './breaker.ts';
import type { TryCandidate } from './order.ts';
import type { UpstreamPool } from './pool.ts';

/** Replaces every model that no table has. Otherwise callers could make any number of breakers. */
const UNKNOWN_MODEL = '(unknown)';

/** An upstream that can take a request, with its breaker for the request's model. */
export interface TryChoice extends TryCandidate {
  upstream: OpenUpstream;
  breaker: Breaker;
}

/**
 * @param model the model as the request names it; undefined if it names none
 * @param now milliseconds since 1970
 */
export function candidatesOf(
  { health, models }: UpstreamPool,
  upstreams: readonly OpenUpstream[],
  model: string | undefined,
  now: number,
): TryChoice[] {
  const key = model === undefined ? '' : (models.find(model)?.id ?? UNKNOWN_MODEL);
  return upstreams.map((upstream) => {
    const { name, entry } = upstream;
    const breaker = health.breaker(name, key);
    const isFull = entry.max_concurrent !== undefined && health.running(name, now) >= entry.max_concurrent;
    // A half-open breaker permits nothing while another try is its probe.
    const state = breaker.lets(now) ? breaker.state(now) : 'open';
    const isDoubtful = breaker.isDoubtful(now);
    return { name, upstream, breaker, state, dueAt: breaker.dueAt, isFull, isDoubtful };
  });
}
