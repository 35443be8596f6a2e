import { expect, test } from 'vitest';
import type { UsageReport } from '../../../../src/accounts/usage-answers.schema.ts';
import { speedRows } from '../../../../src/playground/budget/figures/speeds.ts';
import { addSums, usageTotal } from '../../../../src/pricing/usage-sums.ts';

test('what streams there were is told with its mean time to the first event and its tokens a second, the busiest first', () => {
  const of = (key: string | null, sums: Partial<ReturnType<typeof addSums>>) => ({
    key,
    ...usageTotal({ ...addSums([]), ...sums }),
  });
  const data = [
    of('slow', { requests: 9, timed: 2, first_ms: 5_000, within_1000: 1, streamed_tokens: 30, streamed_ms: 1_500 }),
    of('cut', { requests: 3, timed: 3, first_ms: 300, within_1000: 3 }),
    of('whole', { requests: 7 }),
    of(null, { requests: 7, timed: 7 }),
  ];
  const report = {
    from: null,
    to: null,
    group_by: 'model',
    data,
    total: usageTotal(addSums([])),
  } satisfies UsageReport;
  expect(speedRows(report)).toEqual([
    { key: 'cut', streams: 3, firstMs: 100, withinSecond: 1, tokensPerSecond: undefined },
    { key: 'slow', streams: 2, firstMs: 2_500, withinSecond: 0.5, tokensPerSecond: 20 },
  ]);
  expect(speedRows(undefined)).toEqual([]);
});
