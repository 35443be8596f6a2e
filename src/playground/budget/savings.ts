import type { PrefixStats, UsageReport } from '../../client/index.ts';
import { prefixes, refreshPrefixes } from '../edge/account.ts';
import { edge } from '../edge/client.ts';
import type { Model } from '../edge/models.ts';

/** The savings of one prefix. */
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
 * Computes what caching has saved, compared with the same requests without it.
 *
 * @returns US dollars; negative if writing to the cache has cost more than reading has saved. Models without a known price
 * are left out
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
