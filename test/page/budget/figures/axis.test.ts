import { expect, test } from 'vitest';
import { computeAxisCeiling } from '#page/budget/figures/axis.ts';

test.each([
  [0, 1],
  [1, 1],
  [0.0119, 0.016],
  [238, 300],
  [1_001, 1_600],
  [30_000, 30_000],
  [86_000, 100_000],
])('the axis of a chart whose highest value is %d ends at %d', (max, end) => {
  expect(computeAxisCeiling(max)).toBeCloseTo(end, 9);
});
