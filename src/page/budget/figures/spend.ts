import { ofAccount } from '../../edge/account.ts';
import { edge } from '../../edge/client.ts';
import { dayAgo } from './days.ts';

/** The spending of one day, by model. */
export interface DaySpend {
  /** `YYYY-MM-DD`, in UTC. */
  day: string;
  /** In US dollars, the most expensive model first. */
  models: { model: string; usd: number }[];
  usd: number;
}

const DAYS = 14;

/** @returns the days of the last two weeks, today last, also those without spending */
export async function spendPerDay(account: string): Promise<DaySpend[]> {
  const days = Array.from({ length: DAYS }, (_, index) => dayAgo(DAYS - 1 - index));
  const tomorrow = dayAgo(-1);
  const report = await edge().usage({ from: days[0] ?? '', to: tomorrow, group_by: 'day', ...ofAccount(account) });
  const spent = new Map(report.data.map(({ key, cost_usd }) => [key, cost_usd]));
  return await Promise.all(
    days.map(async (day, index) => {
      const usd = spent.get(day) ?? 0;
      if (usd === 0) return { day, usd, models: [] };
      const to = days[index + 1] ?? tomorrow;
      const { data } = await edge().usage({ from: day, to, group_by: 'model', account });
      return { day, usd, models: data.map(({ key, cost_usd }) => ({ model: key ?? 'unknown', usd: cost_usd })) };
    }),
  );
}
