/** Writes a usage report as a table for spreadsheets. */
import type { UsageReport } from './usage-answers.schema.ts';

/** @returns a report's groups as CSV (RFC 4180): first the names of the columns, then a line for each group. */
export function csvResponse({ group_by, data, total }: UsageReport): Response {
  const kinds = Object.keys(total.usage) as (keyof typeof total.usage)[];
  const { ttft_within_ms: _, ...times } = total.speed;
  const speeds = Object.keys(times) as (keyof typeof times)[];
  const calls = group_by === 'tool' ? (['calls', 'errors', 'ms'] as const) : [];
  const lines = [
    [group_by, 'requests', 'cost_usd', ...kinds, 'failed', ...speeds, ...calls],
    ...data.map(({ key, requests, cost_usd, usage, failed, speed, ...called }) => [
      key ?? '',
      requests,
      // Plain decimals, because a spreadsheet may read 1e-7 as text.
      cost_usd.toFixed(9).replace(/\.?0+$/, ''),
      ...kinds.map((kind) => usage[kind]),
      failed,
      ...speeds.map((name) => speed[name]),
      ...calls.map((name) => called[name] ?? 0),
    ]),
  ];
  const text = lines.map((cells) => `${cells.map(cellOf).join(',')}\r\n`).join('');
  return new Response(text, {
    headers: {
      'content-type': 'text/csv; charset=utf-8',
      'content-disposition': `attachment; filename="usage-by-${group_by}.csv"`,
    },
  });
}

/** Writes a cell. Callers choose some names, and a spreadsheet would run a formula, so one gets an apostrophe in front. */
function cellOf(value: string | number): string {
  const text = typeof value === 'string' && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
