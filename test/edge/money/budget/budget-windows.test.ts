import { expect, test } from 'vitest';
import { computeUsedShare } from '#edge/money/budget/budget-windows.ts';

test('computes a used share of 1 for a limit of 0 and for a negative limit', () => {
  const shares = [2, 0, -2].map((limit_usd) => computeUsedShare({ limit_usd, used_usd: 1 }));
  expect(shares).toEqual([0.5, 1, 1]);
});
