import fc from 'fast-check';
import { expect, test } from 'vitest';
import { findCalendarWindowAt, formatCalendarWindowId, PERIODS } from '#edge/money/budget/windows.ts';
import { tryCases } from '#test/support/property-cases.ts';

test.each([
  ['2026-11-20T23:59:59.999Z', '2026-11-20', '2026-W47', '2026-11'],
  ['2026-11-16T00:00:00Z', '2026-11-16', '2026-W47', '2026-11'],
  ['2026-11-15T23:59:59Z', '2026-11-15', '2026-W46', '2026-11'],
  ['2027-01-01T00:00:00Z', '2027-01-01', '2026-W53', '2027-01'],
  ['2024-12-30T12:00:00Z', '2024-12-30', '2025-W01', '2024-12'],
  ['2028-02-29T12:00:00Z', '2028-02-29', '2028-W09', '2028-02'],
])('%s lies in %s, %s and %s', (time, day, week, month) => {
  const at = Date.parse(time);
  const hour = new Date(at).toISOString().slice(0, 13);
  expect(PERIODS.map((period) => formatCalendarWindowId(period, findCalendarWindowAt(period, at).start))).toEqual([
    hour,
    day,
    week,
    month,
    'total',
  ]);
});

test('divides time into adjacent windows with different IDs', () => {
  tryCases(
    100,
    fc.integer({ min: 0, max: 4e12 }),
    fc.constantFrom(...PERIODS.filter((period) => period !== 'total')),
    (time, period) => {
      const { start, end } = findCalendarWindowAt(period, time);
      expect(start <= time && time < end).toBe(true);
      expect(findCalendarWindowAt(period, end - 1)).toEqual({ start, end });
      expect(findCalendarWindowAt(period, end).start).toBe(end);
      expect(formatCalendarWindowId(period, end)).not.toBe(formatCalendarWindowId(period, start));
    },
  );
});
