/** The calendar that budgets follow: days, weeks from Monday, and months, all in UTC. */
import { DAY_MS } from '../async/durations.ts';

export type Period = 'day' | 'week' | 'month';

export const PERIODS: readonly Period[] = ['day', 'week', 'month'];

/** A calendar window, `start` inclusive and `end` exclusive, in milliseconds since 1970. */
export interface Span {
  start: number;
  end: number;
}

/** @returns the window of this kind that `time` lies in. */
export function spanAt(period: Period, time: number): Span {
  const day = Math.floor(time / DAY_MS);
  if (period === 'day') return { start: day * DAY_MS, end: (day + 1) * DAY_MS };
  if (period === 'week') {
    // Day 0 was a Thursday.
    const monday = day - ((((day + 3) % 7) + 7) % 7);
    return { start: monday * DAY_MS, end: (monday + 7) * DAY_MS };
  }
  const date = new Date(time);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  return { start: Date.UTC(year, month), end: Date.UTC(year, month + 1) };
}

/** @returns the id of a window by its start: `2026-11-20`, `2026-W47` (ISO 8601) or `2026-11`. */
export function spanId(period: Period, start: number): string {
  const date = new Date(start).toISOString();
  if (period === 'day') return date.slice(0, 10);
  if (period === 'month') return date.slice(0, 7);
  // A week belongs to the year of its Thursday.
  const thursday = new Date(start + 3 * DAY_MS);
  const year = thursday.getUTCFullYear();
  const week = Math.floor((thursday.getTime() - Date.UTC(year, 0)) / DAY_MS / 7) + 1;
  return `${year}-W${String(week).padStart(2, '0')}`;
}
