import { expect, test } from 'vitest';
import { formatLimitWindow } from '#page/budget/figures/limit-window.ts';

test.each([
  ['2026-11-30T12', '30 Nov, 12:00 UTC'],
  ['2026-11-30', '30 Nov'],
  ['2026-W49', 'week 49 of 2026'],
  ['2026-11', 'November 2026'],
])('the window %s of a limit is %s', (id, text) => {
  expect(formatLimitWindow(id)).toBe(text);
});
