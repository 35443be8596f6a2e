import { expect, test } from 'vitest';
import type { UsageReport } from '../../../../src/client/index.ts';
import { cachingSaved } from '../../../../src/page/budget/figures/caching-saved.ts';
import type { Model } from '../../../../src/page/edge/models.ts';

const PRICES = { input: 1, cache_read: 0.1, cache_write_5m: 1.25, cache_write_1h: 2 };
const models = [{ id: 'known', prices: PRICES }] as unknown as Model[];

const row = (key: string, read: number, written: number) => ({
  key,
  usage: {
    cache_read_input_tokens: read,
    cache_write_5m_input_tokens: written,
    cache_write_1h_input_tokens: written,
  },
});

const report = (...data: object[]) => ({ data }) as unknown as UsageReport;

test('what caching has saved is what reading cost less than input, without what writing cost more', () => {
  const { usd, tokens } = cachingSaved(report(row('known', 1_000_000, 100_000)), models);
  expect(tokens).toBe(1_000_000);
  expect(usd).toBeCloseTo(0.9 - 0.025 - 0.1, 9);
});

test('tokens whose price is not known are no saving, and are not told as one', () => {
  expect(cachingSaved(report(row('(imported)', 1_000_000, 0)), models)).toEqual({ usd: 0, tokens: 0 });
});
