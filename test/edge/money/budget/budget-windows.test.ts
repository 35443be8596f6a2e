import { expect, test } from 'vitest';
import { computeUsedShare } from '#edge/money/budget/budget-windows.ts';

test('a limit of nothing is used up, and so is one of less than nothing, where credit was taken back', () => {
  const shares = [2, 0, -2].map((limit_usd) => computeUsedShare({ limit_usd, used_usd: 1 }));
  expect(shares).toEqual([0.5, 1, 1]);
});
