/** Formats numbers, money and times. */

const integer = new Intl.NumberFormat('en');
const cents = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const small = new Intl.NumberFormat('en', { maximumSignificantDigits: 2, maximumFractionDigits: 9 });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat('en', { day: 'numeric', month: 'short', timeZone: 'UTC' });
const moment = new Intl.DateTimeFormat('en', {
  weekday: 'short',
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
});

export function formatCount(value: number): string {
  return integer.format(value);
}

/** Formats US dollars: two decimals, and more for less than ten cents. */
export function formatUsd(value: number): string {
  if (value === 0) return '$0';
  const sign = value < 0 ? '−' : '';
  const amount = Math.abs(value);
  return `${sign}$${amount >= 0.1 ? cents.format(amount) : small.format(amount)}`;
}

export function formatShare(value: number): string {
  return `${Math.round(value * 1_000) / 10} %`;
}

export function formatBytes(value: number): string {
  return value < 1_000 ? `${value} B` : `${integer.format(Math.round(value / 1_000))} kB`;
}

export function formatMs(value: number): string {
  return value < 1_000 ? `${Math.round(value)} ms` : `${(value / 1_000).toFixed(value < 10_000 ? 2 : 1)} s`;
}

export function formatClock(time: Date | string): string {
  return clock.format(typeof time === 'string' ? new Date(time) : time);
}

/** @param date `YYYY-MM-DD` */
export function formatDay(date: string): string {
  return day.format(new Date(`${date}T00:00:00Z`));
}

export function formatMoment(time: string): string {
  return moment.format(new Date(time));
}
