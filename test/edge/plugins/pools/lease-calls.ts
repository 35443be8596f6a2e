import { spanAt, spanId } from '#edge/money/budget/windows.ts';
import type { LeaseCall } from '#edge/plugins/pools/contracts/pool.ts';

/** What an account tells: what it has settled in the windows of this time. */
export function told(account: string, seq: number, spent: number, at: number): LeaseCall {
  const windows = (['day', 'week', 'month'] as const).map((period) => {
    const { start, end } = spanAt(period, at);
    return { period, id: spanId(period, start), end, spent, kept: 0, want: 0, least: 0 };
  });
  return { lease: `lease-${account}`, account, incarnation: 1, seq, windows, wish: 0 };
}
