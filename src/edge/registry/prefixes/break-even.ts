/** Computes the break-even of caching: the number of requests from which it costs less than sending the prompt each time. */

import type { Model } from '../../claude/models/models.ts';
import { computeInputCosts, usdToNanodollars } from '../../claude/pricing/cost.ts';

/** The cost of a prefix in a request, in US dollars. */
export interface PrefixCachingCosts {
  /** For each request without caching. */
  cold: number;
  /** For the request that writes it to the cache. */
  write: number;
  /** For each request that reads it from the cache. */
  read: number;
}

/** @returns what a number of tokens costs a request without the cache, written to it, and read from it */
export function computePrefixCachingCosts(tokens: number, model: Model, ttl: '5m' | '1h'): PrefixCachingCosts {
  const costs = computeInputCosts(tokens, model);
  return {
    cold: costs.input,
    write: ttl === '1h' ? costs.cache_write_1h : costs.cache_write_5m,
    read: costs.cache_read,
  };
}

/**
 * Finds the break-even.
 *
 * @returns the smallest number of requests, within one lifetime of the cache, for which caching costs less; null if there
 * is none
 */
export function computeBreakEvenRequests(costs: PrefixCachingCosts): number | null {
  // Compute with integer nanodollars: with floating-point dollars, a rounding error could change the result where the costs are
  // equal.
  const [cold, write, read] = [
    usdToNanodollars(costs.cold),
    usdToNanodollars(costs.write),
    usdToNanodollars(costs.read),
  ];
  if (read >= cold) return write < cold ? 1 : null;
  // The result is the smallest n with write + (n − 1) · read < n · cold. The inequality is strict, so add 1 to the rounded-down
  // quotient.
  return Math.max(1, Math.floor((write - read) / (cold - read)) + 1);
}
