/** Keeps what this isolate knows about the upstreams: which are down, and how many requests run at each. */

import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { createLruCache } from '../../kit/cache/lru.ts';
import { type BreakerState, CircuitBreaker } from './breaker.ts';
import { KeyHealth } from './key-health.ts';

/** An entry that is older than this belongs to a request that the platform has ended. Milliseconds. */
const MAX_REQUEST_MS = 30 * 60_000;
/** The most breakers that are kept: more than any table has models, so that no breaker of a known model is forgotten. */
const MAX_BREAKERS = 500;

/** The state of one upstream and model in this isolate. */
export interface UpstreamHealth {
  upstream: string;
  model: string;
  state: BreakerState;
  /** When a probe will find out whether it works again; milliseconds since 1970. Null while the breaker is closed. */
  dueAt: number | null;
  /** The attempts of the last 30 seconds. */
  tries: number;
  failed: number;
  /** How many requests other upstreams have answered in its place since its breaker opened. */
  elsewhere: { upstream: string; requests: number }[];
}

/** The breakers and running requests of the upstreams of one deployment, in one isolate. */
export class HealthRegistry {
  readonly #breakers = createLruCache<string, { upstream: string; model: string; breaker: CircuitBreaker }>(
    MAX_BREAKERS,
  );
  readonly #keys = new Set<string>();
  readonly #runningRequests = new Map<string, Set<{ since: number }>>();
  readonly #rejections = new Map<string, KeyHealth>();

  /** @returns the breaker of an upstream and a model. A new breaker is closed. */
  getBreaker(upstream: string, model: string): CircuitBreaker {
    const key = `${upstream}\n${model}`;
    const present = this.#breakers.get(key);
    if (present) return present.breaker;
    const breaker = new CircuitBreaker();
    this.#breakers.set(key, { upstream, model, breaker });
    this.#keys.add(key);
    if (this.#keys.size > MAX_BREAKERS)
      for (const old of this.#keys) if (!this.#breakers.has(old)) this.#keys.delete(old);
    return breaker;
  }

  getKeyHealth(upstream: string): KeyHealth {
    return getOrCreate(this.#rejections, upstream, () => new KeyHealth());
  }

  /** @returns how many requests run at an upstream. */
  countRunning(upstream: string, now: number): number {
    const running = this.#runningRequests.get(upstream);
    if (!running) return 0;
    for (const one of running) if (now - one.since > MAX_REQUEST_MS) running.delete(one);
    return running.size;
  }

  /** Counts a request that begins to run. @returns a function that ends it. Calling it again does no harm */
  begin(upstream: string, now: number): () => void {
    const running = getOrCreate(this.#runningRequests, upstream, () => new Set());
    const one = { since: now };
    running.add(one);
    return () => {
      running.delete(one);
    };
  }

  /** @returns what is known about every upstream and model that was called. */
  reportUpstreamHealth(now: number): UpstreamHealth[] {
    return [...this.#keys].flatMap((key) => {
      const present = this.#breakers.get(key);
      if (!present) return [];
      const { upstream, model, breaker } = present;
      const state = breaker.getState(now);
      const dueAt = state === 'closed' ? null : breaker.nextProbeAt;
      return [{ upstream, model, state, dueAt, ...breaker.countTriesInWindow(now), elsewhere: breaker.bypasses }];
    });
  }
}
