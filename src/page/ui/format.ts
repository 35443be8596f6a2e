/** Formats numbers, money and times. */

const integer = new Intl.NumberFormat('en');
const exactNumber = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 9 });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });
// Times have one form in the rows of lists, and one in details. Both are in the time zone of the browser.
const ROW_TIME = { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' } as const;
const rowTime = new Intl.DateTimeFormat('en-GB', ROW_TIME);
const rowTimeWithYear = new Intl.DateTimeFormat('en-GB', { ...ROW_TIME, year: 'numeric' });
const exactTime = new Intl.DateTimeFormat('en-GB', { ...ROW_TIME, year: 'numeric', second: '2-digit' });

const hour = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat('en', { weekday: 'long' });
const date = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'long' });
const utcMoment = new Intl.DateTimeFormat('en-GB', { ...ROW_TIME, timeZone: 'UTC' });
const month = new Intl.DateTimeFormat('en', { month: 'long', year: 'numeric' });
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
export const DAY_MS = 86_400_000;

export function formatCount(value: number): string {
  return integer.format(value);
}

/**
 * Formats a sum of US dollars, in whole cents; see `Usd` for further rules. What is owed is never only “little”.
 *
 * @param limit the limit that it is a part of: of less than a dollar it has as many digits as tell its share to a tenth of a percent
 */
export function formatUsd(value: number, limit?: number): string {
  const isSmall = limit !== undefined && limit !== 0 && Math.abs(limit) < 1;
  return formatDollars(value, isSmall ? Math.min(9, Math.max(2, Math.ceil(3 - Math.log10(Math.abs(limit))))) : 2);
}

/** The most decimals of the price of one thing that costs a millionth of a dollar or more. */
export const UNIT_PRICE_DECIMALS = 6;

/** Formats the price of one thing in US dollars: what is less than a dollar has three significant digits, and two to six decimals. */
export function formatUnitPrice(value: number): string {
  const size = Math.abs(value);
  if (size === 0 || size >= 1) return formatDollars(value, 2);
  if (size < 10 ** -UNIT_PRICE_DECIMALS) return formatExactUsd(value);
  return formatDollars(value, Math.min(UNIT_PRICE_DECIMALS, 2 - Math.floor(Math.log10(size))));
}

function formatDollars(value: number, maxDecimals: number): string {
  const least = 10 ** -maxDecimals;
  if (value > 0 && value < least) return `<$${least.toFixed(maxDecimals)}`;
  if (value < 0 && value > -least) return formatExactUsd(value);
  const number = Math.abs(value).toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: maxDecimals });
  return `${value < 0 ? '−' : ''}$${number}`;
}

/** Formats US dollars without rounding: the edge counts billionths. */
export function formatExactUsd(value: number): string {
  return `${value < 0 ? '−' : ''}$${exactNumber.format(Math.abs(value))}`;
}

/** Formats a share. What is not nothing is never `0%`. */
export function formatPercentage(value: number): string {
  if (value > 0 && value < 0.0005) return '<0.1%';
  return `${Math.round(value * 1_000) / 10}%`;
}

export function formatBytes(value: number): string {
  return value < 1_000 ? `${value} B` : `${integer.format(Math.round(value / 1_000))} kB`;
}

export function formatMilliseconds(value: number): string {
  return value < 1_000 ? `${Math.round(value)} ms` : `${(value / 1_000).toFixed(value < 10_000 ? 2 : 1)} s`;
}

export function formatTimeOfDay(time: Date | string): string {
  return clock.format(typeof time === 'string' ? new Date(time) : time);
}

/** @param date `YYYY-MM-DD` */
export function formatDay(date: string): string {
  return day.format(new Date(`${date}T00:00:00Z`));
}

/** @returns a time for a row of a list, with the year if it is not the current one: `30 Nov, 15:59` */
export function formatRowTime(time: string, now = new Date()): string {
  const then = new Date(time);
  return (then.getFullYear() === now.getFullYear() ? rowTime : rowTimeWithYear).format(then);
}

/** @returns a time for details: `30 Nov 2026, 15:59:05` */
export function formatExactTime(time: string): string {
  return exactTime.format(new Date(time));
}

/** @returns when something will be, as one says it: `today at 18:00`, `on Monday at 01:00`, `on 1 December at 01:00` */
export function formatFutureTime(time: string, now = new Date()): string {
  const then = new Date(time);
  const days = Math.round((getStartOfDay(then) - getStartOfDay(now)) / DAY_MS);
  const word = days === 0 || days === 1 ? relative.format(days, 'day') : undefined;
  return `${word ?? `on ${(days > 0 && days < 7 ? weekday : date).format(then)}`} at ${hour.format(then)}`;
}

/** @returns when a window begins anew. Windows end with an hour or a day in UTC: `1 Dec, 00:00 UTC` */
export function formatResetTime(time: string): string {
  return `${utcMoment.format(new Date(time))} UTC`;
}

/** @returns the day of a moment in the past, as a heading: `Today`, `Last 7 days`, `May 2026` */
export function formatDayHeading(time: string, now = new Date()): string {
  const then = new Date(time);
  const days = Math.round((getStartOfDay(then) - getStartOfDay(now)) / DAY_MS);
  // The browser's clock may be behind the edge's, so that the moment is in its future.
  if (days >= 0) return 'Today';
  if (days === -1) return 'Yesterday';
  if (days > -7) return 'Last 7 days';
  if (days > -30) return 'Last 30 days';
  return month.format(then);
}

/** Formats the times in a sentence of the edge for people. */
export function formatTimesInText(text: string): string {
  return text.replace(
    /(until )?(?:at |on )?(\d{4}-\d\d-\d\dT[\d:.]+Z)/g,
    (_, until: string | undefined, time: string) =>
      until === undefined ? formatFutureTime(time) : until + formatFutureTime(time).replace(/^on /, ''),
  );
}

function getStartOfDay(time: Date): number {
  return Date.UTC(time.getFullYear(), time.getMonth(), time.getDate());
}
