/** Keeps which days are looked at. Days are those of the ledger: in UTC, `YYYY-MM-DD`. */
import { signal } from '@preact/signals';
import { DAY_MS } from '../../ui/format.ts';

/** The days to choose from: how many (by default from the first of this month), and how many days ago the last one was. */
const RANGES = {
  today: { name: 'Today', said: 'today', count: 1, ago: 0 },
  yesterday: { name: 'Yesterday', said: 'yesterday', count: 1, ago: 1 },
  week: { name: 'Last 7 days', said: 'in the last 7 days', count: 7, ago: 0 },
  thisMonth: { name: 'This month', said: 'this month', count: undefined, ago: 0 },
  month: { name: 'Last 30 days', said: 'in the last 30 days', count: 30, ago: 0 },
} as const;

export const RANGE_NAMES = [
  ...Object.entries(RANGES).map(([key, { name }]) => [key, name] as const),
  ['own', 'Choose days…'] as const,
];
export type DayRangeName = keyof typeof RANGES | 'own';

export const listedRange = signal<DayRangeName>('week');
/** The days of the list of spenders. It is shown beside today's spending, so it begins with today. */
export const spendersRange = signal<DayRangeName>('today');
/** The days that were chosen one by one; both are looked at. */
export const customDays = signal({ first: formatDateDaysAgo(6), last: formatDateDaysAgo(0) });

/** The minute around which requests are looked at, `YYYY-MM-DDTHH:MM` where the user is; empty for the chosen days. */
export const listedMinute = signal('');

/** @returns the days that are looked at now: from the first, to before the second */
export function getSelectedDayRange(rangeSignal = listedRange): { from: string; to: string } {
  if (rangeSignal.value === 'own') return { from: customDays.value.first, to: formatNextDay(customDays.value.last) };
  const { count = Number(formatDateDaysAgo(0).slice(8)), ago } = RANGES[rangeSignal.value];
  return { from: formatDateDaysAgo(ago + count - 1), to: formatDateDaysAgo(ago - 1) };
}

/** @returns the days as they are named in a sentence */
export function describeSelectedDays(rangeSignal = listedRange): string {
  if (rangeSignal.value !== 'own') return RANGES[rangeSignal.value].said;
  const { first, last } = customDays.value;
  return first === last ? `on ${first}` : `from ${first} to ${last}`;
}

/** @returns the day so many days ago */
export function formatDateDaysAgo(days: number): string {
  return new Date(Date.now() - days * DAY_MS).toISOString().slice(0, 10);
}

/** @returns a time as `YYYY-MM-DDTHH:MM` where the user is */
export function formatLocalMinute(time: Date): string {
  return new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function formatNextDay(day: string): string {
  return new Date(Date.parse(day) + DAY_MS).toISOString().slice(0, 10);
}
