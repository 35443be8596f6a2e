/** The windows of budgets: hours, days, weeks from Monday, and months, all in UTC; and a window of all time. */

import { DAY_MS, HOUR_MS } from '../../kit/async/durations.ts';

export type Period = (typeof CALENDAR_PERIODS)[number] | 'total';

/** The periods that begin again. */
export const CALENDAR_PERIODS = ['hour', 'day', 'week', 'month'] as const;

export const PERIODS: readonly Period[] = [...CALENDAR_PERIODS, 'total'];

/** @returns a value for each of some periods. */
export function mapPeriods<Some extends Period, T>(
  periods: readonly Some[],
  figureOf: (period: Some) => T,
): Record<Some, T> {
  return Object.fromEntries(periods.map((period) => [period, figureOf(period)])) as Record<Some, T>;
}

/** The end of the window of all time, in milliseconds since 1970: the latest time that a date can express. */
export const NEVER = 8.64e15;

/** A calendar window, `start` inclusive and `end` exclusive, in milliseconds since 1970. */
export interface WindowSpan {
  start: number;
  end: number;
}

/** @returns the window of this kind that contains `time`. */
export function findCalendarWindowAt(period: Period, time: number): WindowSpan {
  if (period === 'total') return { start: 0, end: NEVER };
  if (period === 'hour' || period === 'day') {
    const length = period === 'hour' ? HOUR_MS : DAY_MS;
    const start = Math.floor(time / length) * length;
    return { start, end: start + length };
  }
  if (period === 'week') {
    const day = Math.floor(time / DAY_MS);
    // Day 0 (1970-01-01) was a Thursday, so `(day + 3) % 7` counts the days since Monday.
    const monday = day - ((((day + 3) % 7) + 7) % 7);
    return { start: monday * DAY_MS, end: (monday + 7) * DAY_MS };
  }
  const date = new Date(time);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  return { start: Date.UTC(year, month), end: Date.UTC(year, month + 1) };
}

export function getUsdLimitName(period: Period): 'usd_total' | `usd_per_${Exclude<Period, 'total'>}` {
  return period === 'total' ? 'usd_total' : `usd_per_${period}`;
}

/** @returns the id of a window by its start: `2026-11-20T12`, `2026-11-20`, `2026-W47` (ISO 8601), `2026-11` or `total`. */
export function formatCalendarWindowId(period: Period, start: number): string {
  if (period === 'total') return period;
  const date = new Date(start).toISOString();
  if (period === 'hour') return date.slice(0, 13);
  if (period === 'day') return date.slice(0, 10);
  if (period === 'month') return date.slice(0, 7);
  // In ISO 8601, a week belongs to the year of its Thursday, so count the week within that year.
  const thursday = new Date(start + 3 * DAY_MS);
  const year = thursday.getUTCFullYear();
  const week = Math.floor((thursday.getTime() - Date.UTC(year, 0)) / DAY_MS / 7) + 1;
  return `${year}-W${String(week).padStart(2, '0')}`;
}
