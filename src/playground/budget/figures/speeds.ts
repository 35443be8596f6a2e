/** Makes figures of how fast streams were, of the sums that the edge tells. */
import type { UsageReport } from '../../../client/index.ts';

/** How fast the streams of a model or an upstream were. */
export interface SpeedRow {
  key: string;
  streams: number;
  /** Milliseconds to the first event, on the mean. */
  firstMs: number;
  /** The share of the streams whose first event came within a second. */
  withinSecond: number;
  /** From the first event to the end; undefined if no stream has come to its end. */
  tokensPerSecond: number | undefined;
}

/** @returns a row for each part of a report that has had streams, the busiest first */
export function speedRows(report: UsageReport | undefined): SpeedRow[] {
  return (report?.data ?? [])
    .filter(({ key, speed }) => key !== null && speed.timed_requests > 0)
    .map(({ key, speed: { timed_requests: streams, ttft_ms, ttft_within_ms, streamed_tokens, streamed_ms } }) => ({
      key: key ?? '',
      streams,
      firstMs: ttft_ms / streams,
      withinSecond: (ttft_within_ms[1_000] ?? 0) / streams,
      tokensPerSecond: streamed_ms === 0 ? undefined : (streamed_tokens * 1_000) / streamed_ms,
    }))
    .sort((left, right) => right.streams - left.streams);
}
