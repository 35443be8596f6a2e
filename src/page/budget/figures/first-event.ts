/** Estimates times to the first event from a histogram. */
import type { UsageReport } from '../../../client/index.ts';

type Speed = UsageReport['total']['speed'];

/**
 * @param share 0.5 for the median, 0.95 for the 95th percentile
 * @returns the time within which this share of streams sent their first event, in milliseconds, interpolated between the bounds
 *   of the histogram. The lowest bound if it is not above that: a time below it is not known. Infinity if it is above the highest
 *   bound; undefined without streams
 */
export function estimateFirstEventMs(
  { timed_requests, ttft_within_ms }: Pick<Speed, 'timed_requests' | 'ttft_within_ms'>,
  share: number,
): number | undefined {
  if (timed_requests === 0) return undefined;
  const rank = share * timed_requests;
  const bounds = Object.entries(ttft_within_ms)
    .map(([ms, count]) => ({ ms: Number(ms), count }))
    .sort((one, other) => one.ms - other.ms);
  let lower = bounds[0];
  for (const bound of bounds) {
    if (lower && bound.count >= rank)
      return lower === bound
        ? bound.ms
        : lower.ms + ((rank - lower.count) / (bound.count - lower.count)) * (bound.ms - lower.ms);
    lower = bound;
  }
  return Number.POSITIVE_INFINITY;
}
