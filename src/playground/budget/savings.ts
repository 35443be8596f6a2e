import type { PrefixStats, UsageReport } from '../../client/index.ts';
import { prefixes, refreshPrefixes } from '../edge/account.ts';
import { edge } from '../edge/client.ts';
import type { Model } from '../edge/models.ts';

/** What one prefix has saved. */
export interface Saving {
  name: string;
  total: PrefixStats['total'];
}

export async function savingsOf(): Promise<Saving[]> {
  await refreshPrefixes();
  return await Promise.all(
    prefixes.value.map(async ({ name }) => ({ name, total: (await edge().prefixes.stats(name)).total })),
  );
}

/**
 * What caching has saved, of everything that was asked: against the same requests without it.
 *
 * @returns US dollars; negative where writing to the cache has cost more than reading has saved. Models without a known
 * price count nothing
 */
export function cachingSaved(byModel: UsageReport, models: readonly Model[]): number {
  const dollars = byModel.data.map(({ key, usage }) => {
    const prices = models.find(({ id }) => id === key)?.prices;
    if (!prices) return 0;
    const read = usage.cache_read_input_tokens * (prices.input - prices.cache_read);
    const five = usage.cache_write_5m_input_tokens * (prices.cache_write_5m - prices.input);
    const hour = usage.cache_write_1h_input_tokens * (prices.cache_write_1h - prices.input);
    return (read - five - hour) / 1_000_000;
  });
  return dollars.reduce((sum, usd) => sum + usd, 0);
}
