/** From how many requests on caching a prompt costs less than sending it anew each time. */
import { fromUsd, inputCosts } from '../pricing/cost.ts';
import type { Model } from '../pricing/models.ts';

/** What a cached beginning of a prompt costs with each request, in US dollars. */
export interface CachedCosts {
  /** Without caching. */
  cold: number;
  /** The request that writes it to the cache. */
  write: number;
  /** Each that reads it from there. */
  read: number;
}

/** @returns what so many tokens cost a request, by what the cache does with them. */
export function cachedCosts(tokens: number, model: Model, ttl: '5m' | '1h'): CachedCosts {
  const costs = inputCosts(tokens, model);
  return {
    cold: costs.input,
    write: ttl === '1h' ? costs.cache_write_1h : costs.cache_write_5m,
    read: costs.cache_read,
  };
}

/**
 * @returns the smallest number of requests within one lifetime for which a write and reads cost less than as many times
 * the input; null where no number does
 */
export function paysFrom(costs: CachedCosts): number | null {
  // Whole nanodollars, since at the bound itself a rounding would decide.
  const [cold, write, read] = [fromUsd(costs.cold), fromUsd(costs.write), fromUsd(costs.read)];
  if (read >= cold) return write < cold ? 1 : null;
  // write + (n − 1) · read < n · cold, solved for n, which must be above the bound and not on it.
  return Math.max(1, Math.floor((write - read) / (cold - read)) + 1);
}
