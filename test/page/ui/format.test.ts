import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  formatDayHeading,
  formatExactTime,
  formatExactUsd,
  formatFutureTime,
  formatPercentage,
  formatResetTime,
  formatRowTime,
  formatTimesInText,
  formatUnitPrice,
  formatUsd,
} from '#page/ui/format.ts';

const NOON = new Date(2026, 10, 20, 12);
const at = (month: number, day: number, hour: number) => new Date(2026, month, day, hour).toISOString();

test.each([
  [at(10, 20, 18), 'today at 18:00'],
  [at(10, 21, 1), 'tomorrow at 01:00'],
  [at(10, 23, 1), 'on Monday at 01:00'],
  [at(11, 1, 1), 'on 1 December at 01:00'],
])('formatFutureTime writes %s relative to now', (time, said) => {
  expect(formatFutureTime(time, NOON)).toBe(said);
});

test.each([
  [at(10, 20, 1), 'Today'],
  [at(10, 19, 23), 'Yesterday'],
  [at(10, 18, 23), 'Last 7 days'],
  [at(10, 13, 1), 'Last 30 days'],
  [at(9, 1, 1), 'October 2026'],
])('formatDayHeading writes %s as %s', (time, said) => {
  expect(formatDayHeading(time, NOON)).toBe(said);
});

test('formatDayHeading writes Today for a moment that a slow clock takes for the future', () => {
  expect(formatDayHeading(at(10, 21, 1), NOON)).toBe('Today');
  expect(formatDayHeading(at(10, 20, 1), new Date(0))).toBe('Today');
});

test('formatResetTime names the day and the time in UTC', () => {
  expect(formatResetTime('2026-12-01T00:00:00Z')).toBe('1 Dec, 00:00 UTC');
  expect(formatResetTime('2026-11-20T13:00:00Z')).toBe('20 Nov, 13:00 UTC');
});

test('formatRowTime leaves out the seconds, and the year if it is the current one', () => {
  expect(formatRowTime(at(11, 1, 1), NOON)).toBe('1 Dec, 01:00');
  expect(formatRowTime(new Date(2099, 0, 1, 1).toISOString(), NOON)).toBe('1 Jan 2099, 01:00');
});

test('formatExactTime includes the year and the seconds', () => {
  expect(formatExactTime(new Date(2026, 10, 30, 15, 59, 5).toISOString())).toBe('30 Nov 2026, 15:59:05');
});

test('formatTimesInText replaces timestamps without doubling the preposition', () => {
  expect(formatTimesInText('It resets at 2090-12-01T00:30:00Z.')).toMatch(
    /^It resets on (30 November|1 December) at \d\d:\d\d\.$/,
  );
  expect(formatTimesInText('Wait until 2090-12-01T00:30:00Z.')).toMatch(
    /^Wait until (30 November|1 December) at \d\d:\d\d\.$/,
  );
  expect(formatTimesInText('No time in it.')).toBe('No time in it.');
});

test('formatUsd rounds to cents and marks smaller amounts as <$0.01, and formatExactUsd keeps every digit', () => {
  const told = (value: number) => [formatUsd(value), formatExactUsd(value)];
  expect([0, 0.000023, 0.0123, 7.5, 1_234.5, -0.5, -0.004].map(told)).toEqual([
    ['$0.00', '$0.00'],
    ['<$0.01', '$0.000023'],
    ['$0.01', '$0.0123'],
    ['$7.50', '$7.50'],
    ['$1,234.50', '$1,234.50'],
    ['−$0.50', '−$0.50'],
    ['−$0.004', '−$0.004'],
  ]);
  const nanodollars = fc.integer({ min: 0, max: 1e15 });
  fc.assert(
    fc.property(nanodollars, (nano) => {
      const usd = nano / 1e9;
      expect(formatUsd(usd)).toMatch(nano > 0 && nano < 1e7 ? /^<\$0\.01$/ : /^\$[\d,]+\.\d\d$/);
      expect(Number(formatExactUsd(usd).replace(/[$,]/g, ''))).toBe(usd);
    }),
  );
});

test('formatUsd shows enough digits to compare an amount with its limit', () => {
  const parts = [
    [0.01331999, 0.01338693, '$0.01332'],
    [0.0075, 0.01, '$0.0075'],
    [0.5078846, 5, '$0.51'],
    [1.5, 2, '$1.50'],
    [0.0004, 2, '<$0.01'],
    [12.3456, 200, '$12.35'],
    [0, 0, '$0.00'],
    [0.0123, 0, '$0.01'],
    [-0.018435, -0.018435, '−$0.01844'],
    [-0.000000001, -0.5, '−$0.000000001'],
    [1_234_567, 9_000_000, '$1,234,567.00'],
  ] as const;
  for (const [used, limit, said] of parts) expect(formatUsd(used, limit)).toBe(said);
});

test.each([
  [0, '$0.00'],
  [0.000000001, '$0.000000001'],
  [0.00008, '$0.00008'],
  [0.000279, '$0.000279'],
  [0.00012345, '$0.000123'],
  [0.0000653, '$0.000065'],
  [0.005, '$0.005'],
  [0.0099999, '$0.01'],
  [0.0279, '$0.0279'],
  [0.5, '$0.50'],
  [0.9949, '$0.995'],
  [0.9996, '$1.00'],
  [1.234, '$1.23'],
  [1_234.5, '$1,234.50'],
  [-0.00008, '−$0.00008'],
])('formatUnitPrice formats %d as %s', (usd, said) => {
  expect(formatUnitPrice(usd)).toBe(said);
});

test('formatUnitPrice keeps three significant digits and never rounds a small price to zero', () => {
  const nanodollars = fc.integer({ min: 1, max: 994_999_999 });
  fc.assert(
    fc.property(nanodollars, (nano) => {
      const said = /^\$(\d\.\d{2,9})$/.exec(formatUnitPrice(nano / 1e9))?.[1] ?? '';
      expect(said.replace(/^[0.]+|\.|0+$/g, '').length).toBeLessThanOrEqual(3);
      // Three digits, or the last of six decimals.
      expect(Math.abs(Number(said) - nano / 1e9)).toBeLessThanOrEqual(Math.max((nano / 1e9) * 0.005, 0.51e-6));
      expect(Number(said)).toBeGreaterThan(0);
    }),
  );
});

test('formatPercentage writes at most one decimal, and 0% only for nothing', () => {
  expect([0, 0.00001, 0.5174, 1].map(formatPercentage)).toEqual(['0%', '<0.1%', '51.7%', '100%']);
});
