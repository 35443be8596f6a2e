import { expect, test } from 'vitest';
import { estimateFirstEventMs } from '#page/budget/figures/first-event.ts';

const within = (...counts: number[]) => ({
  timed_requests: counts.at(-1) ?? 0,
  ttft_within_ms: Object.fromEntries(
    [250, 500, 1_000, 2_500, 5_000, 10_000, 30_000].map((ms, nth) => [ms, counts[nth] ?? 0]),
  ),
});

test.each([
  ['all in the first bucket', within(10, 10, 10, 10, 10, 10, 10, 10), 0.5, 250],
  ['half of them faster than a bound', within(5, 10, 10, 10, 10, 10, 10, 10), 0.5, 250],
  ['the last of them in a later bucket', within(0, 0, 90, 100, 100, 100, 100, 100), 0.95, 1_750],
  ['empty buckets in between', within(1, 1, 1, 1, 1, 2, 2, 2), 0.95, 9_500],
  ['more above the highest bound', within(0, 0, 0, 0, 0, 0, 1, 10), 0.5, Number.POSITIVE_INFINITY],
  ['no stream', within(0, 0, 0, 0, 0, 0, 0, 0), 0.5, undefined],
])('estimates a percentile from a histogram with %s', (_, speed, share, expected) => {
  const estimated = estimateFirstEventMs(speed, share);
  if (expected === undefined || !Number.isFinite(expected)) expect(estimated).toBe(expected);
  else expect(estimated).toBeCloseTo(expected, 6);
});
