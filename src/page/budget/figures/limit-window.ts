import { formatDay } from '../../ui/format.ts';

const utcMonth = new Intl.DateTimeFormat('en-GB', { month: 'long', year: 'numeric', timeZone: 'UTC' });

/** @returns the window of a limit in words, from its id in UTC: `30 Nov`, `November 2026`; another id as it is */
export function formatLimitWindow(id: string): string {
  const [, month, day, hour] = /^(\d{4}-\d\d)(?:-(\d\d)(?:T(\d\d))?)?$/.exec(id) ?? [];
  if (month === undefined) return id.replace(/^(\d{4})-W(\d\d)$/, 'week $2 of $1');
  if (day === undefined) return utcMonth.format(new Date(`${month}-01T00:00:00Z`));
  const text = formatDay(`${month}-${day}`);
  return hour === undefined ? text : `${text}, ${hour}:00 UTC`;
}
