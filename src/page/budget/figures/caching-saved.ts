import type { UsageReport } from '../../../client/index.ts';
import type { Model } from '../../edge/models.ts';

/**
 * Computes what caching has saved, compared with the same requests without it. Models without a known price are left out.
 *
 * @returns US dollars, negative if writing to the cache has cost more than reading has saved; and the tokens that were read
 */
export function cachingSaved(byModel: UsageReport, models: readonly Model[]): { usd: number; tokens: number } {
  const saved = { usd: 0, tokens: 0 };
  for (const { key, usage } of byModel.data) {
    const prices = models.find(({ id }) => id === key)?.prices;
    if (!prices) continue;
    const read = usage.cache_read_input_tokens * (prices.input - prices.cache_read);
    const five = usage.cache_write_5m_input_tokens * (prices.cache_write_5m - prices.input);
    const hour = usage.cache_write_1h_input_tokens * (prices.cache_write_1h - prices.input);
    saved.usd += (read - five - hour) / 1_000_000;
    saved.tokens += usage.cache_read_input_tokens;
  }
  return saved;
}
