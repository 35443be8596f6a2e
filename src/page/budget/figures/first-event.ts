/** Estimates times to the first event from a histogram. */
import type { UsageReport } from '../../../client/index.ts';

type Speed = UsageReport['total']['speed'];

/**
 * @param share 0.5 for the median, 0.95 for the 95th percentile
 * @returns the time within which this share of streams sent their first event, in milliseconds, interpolated between the bounds
 *   of the histogram. Infinity if it is above the highest bound; undefined without streams
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
  let lower = { ms: 0, count: 0 };
  for (const bound of bounds) {
    if (bound.count >= rank)
      return lower.ms + ((rank - lower.count) / (bound.count - lower.count)) * (bound.ms - lower.ms);
    lower = bound;
  }
  return Number.POSITIVE_INFINITY;
}
