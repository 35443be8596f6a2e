import { expect, test } from 'vitest';
import { formatExactTime, formatLimitWindow, formatRowTime } from '#page/budget/figures/times.ts';

const at = (year: number) => new Date(year, 10, 30, 15, 59, 5).toISOString();

test('rows show a time without seconds, and its year if it is not the current one', () => {
  const now = new Date(2026, 10, 30);
  expect([2026, 2025].map((year) => formatRowTime(at(year), now))).toEqual(['30 Nov, 15:59', '30 Nov 2025, 15:59']);
});

test('details show a time with its year and seconds', () => {
  expect(formatExactTime(at(2026))).toBe('30 Nov 2026, 15:59:05');
});

test.each([
  ['2026-11-30T12', '30 Nov, 12:00 UTC'],
  ['2026-11-30', '30 Nov'],
  ['2026-W49', 'week 49 of 2026'],
  ['2026-11', 'November 2026'],
])('the window %s of a limit is %s', (id, text) => {
  expect(formatLimitWindow(id)).toBe(text);
});
