/**
 * A token bucket without a timer. Its whole state is `fullAt`, the time at which it will be full again. Taking from it moves
 * this time forward. The content of the bucket is computed from this time and the clock.
 *
 * `limit` is how much flows in during a minute, and also the size of the bucket (at least one, or nothing could be taken).
 */
import { MINUTE_MS } from '../../kit/async/durations.ts';

/** @returns how many units fit into the bucket. */
export function computeBucketCapacity(limit: number): number {
  return limit > 0 ? Math.max(1, limit) : 0;
}

/** @returns the whole units in the bucket; negative while more was taken than it held. */
export function computeUnitsInBucket(fullAt: number, limit: number, now: number): number {
  if (limit <= 0) return 0;
  // `now` is near 1.7e12, where a floating-point number is exact only to a few ten-thousandths. Add a tolerance, so that
  // rounding down does not lose a whole unit.
  const lost = 1e-6 + limit * 1e-8;
  return Math.floor(computeBucketCapacity(limit) - Math.max(0, fullAt - now) * (limit / MINUTE_MS) + lost);
}

/** @returns the bucket's new `fullAt` after `units` were taken. */
export function takeUnitsFromBucket(fullAt: number, limit: number, now: number, units: number): number {
  if (limit <= 0 || units <= 0) return fullAt;
  return Math.max(fullAt, now) + units * (MINUTE_MS / limit);
}

/** @returns milliseconds until `units` are in the bucket; a full minute if they never will be. */
export function computeRefillWaitMs(fullAt: number, limit: number, now: number, units: number): number {
  if (limit <= 0 || units > computeBucketCapacity(limit)) return MINUTE_MS;
  return Math.max(0, fullAt - now - (computeBucketCapacity(limit) - units) * (MINUTE_MS / limit));
}
