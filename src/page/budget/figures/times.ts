/** Formats times: one way for the rows of lists, and one for details. Both are in the time zone of the browser. */

const ROW_TIME = { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' } as const;
const rowTime = new Intl.DateTimeFormat('en-GB', ROW_TIME);
const rowTimeWithYear = new Intl.DateTimeFormat('en-GB', { ...ROW_TIME, year: 'numeric' });
const exactTime = new Intl.DateTimeFormat('en-GB', { ...ROW_TIME, year: 'numeric', second: '2-digit' });
const utcDay = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });
const utcMonth = new Intl.DateTimeFormat('en-GB', { month: 'long', year: 'numeric', timeZone: 'UTC' });

/** @returns a time for a row of a list, with the year if it is not the current one: `30 Nov, 15:59` */
export function formatRowTime(time: string, now = new Date()): string {
  const then = new Date(time);
  return (then.getFullYear() === now.getFullYear() ? rowTime : rowTimeWithYear).format(then);
}

/** @returns a time for details: `30 Nov 2026, 15:59:05` */
export function formatExactTime(time: string): string {
  return exactTime.format(new Date(time));
}

/** @returns the window of a limit in words, from its id in UTC: `30 Nov`, `November 2026`; another id as it is */
export function formatLimitWindow(id: string): string {
  const [, month, day, hour] = /^(\d{4}-\d\d)(?:-(\d\d)(?:T(\d\d))?)?$/.exec(id) ?? [];
  if (month === undefined) return id.replace(/^(\d{4})-W(\d\d)$/, 'week $2 of $1');
  const start = new Date(`${month}-${day ?? '01'}T${hour ?? '00'}:00:00Z`);
  if (day === undefined) return utcMonth.format(start);
  return hour === undefined ? utcDay.format(start) : `${utcDay.format(start)}, ${hour}:00 UTC`;
}
