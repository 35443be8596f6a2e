/** The upstreams that can take a request, with what this isolate knows of them now. */

import type { OpenUpstream } from '../kinds/entry.ts';
import type { Breaker } from './breaker.ts';
import type { TryCandidate } from './order.ts';
import type { UpstreamPool } from './pool.ts';

/** The model in the place of all that no table has: else anyone could make breakers without end. */
const UNKNOWN_MODEL = '(unknown)';

/** An upstream that can take a request, with its breaker for the request's model. */
export interface TryChoice extends TryCandidate {
  upstream: OpenUpstream;
  breaker: Breaker;
}

/**
 * @param model as the request names it; undefined where it has none
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
    // Half open it lets nobody in while another try is its probe.
    const state = breaker.lets(now) ? breaker.state(now) : 'open';
    return { name, upstream, breaker, state, dueAt: breaker.dueAt, isFull };
  });
}
