import { edge } from '../../edge/client.ts';
import { DAY_MS } from '../../ui/format.ts';

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
  const today = Math.floor(Date.now() / DAY_MS);
  const days = Array.from({ length: DAYS }, (_, index) => dayOf(today - DAYS + 1 + index));
  const report = await edge().usage({ from: days[0] ?? '', to: dayOf(today + 1), group_by: 'day', account });
  const spent = new Map(report.data.map(({ key, cost_usd }) => [key, cost_usd]));
  return await Promise.all(
    days.map(async (day, index) => {
      const usd = spent.get(day) ?? 0;
      if (usd === 0) return { day, usd, models: [] };
      const to = days[index + 1] ?? dayOf(today + 1);
      const { data } = await edge().usage({ from: day, to, group_by: 'model', account });
      return { day, usd, models: data.map(({ key, cost_usd }) => ({ model: key ?? 'unknown', usd: cost_usd })) };
    }),
  );
}

function dayOf(number: number): string {
  return new Date(number * DAY_MS).toISOString().slice(0, 10);
}
