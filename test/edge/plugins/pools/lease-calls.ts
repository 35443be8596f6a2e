import { findCalendarWindowAt, formatCalendarWindowId } from '#edge/money/budget/windows.ts';
import type { LeaseRequest } from '#edge/plugins/pools/contracts/pool.ts';

/** What an account tells: what it has settled in the windows of this time. */
export function told(account: string, seq: number, spent: number, at: number): LeaseRequest {
  const windows = (['day', 'week', 'month'] as const).map((period) => {
    const { start, end } = findCalendarWindowAt(period, at);
    return { period, id: formatCalendarWindowId(period, start), end, spent, kept: 0, want: 0, least: 0 };
  });
  return { lease: `lease-${account}`, account, incarnation: 1, seq, windows, wish: 0 };
}
