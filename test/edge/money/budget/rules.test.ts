import { expect, test } from 'vitest';
import { limitsSchema } from '#edge/money/budget/limits.schema.ts';
import { CEILING, toLimitRules } from '#edge/money/budget/rules.ts';

test('leaves absent limits unlimited and lowers max_tokens by default', () => {
  expect(toLimitRules(limitsSchema.parse({}))).toEqual({
    spend: {},
    concurrent: Number.POSITIVE_INFINITY,
    canLowerMaxTokens: true,
    minOutputTokens: undefined,
    shouldEstimateServerTools: false,
  });
  expect(toLimitRules(limitsSchema.parse({ served_tools: 'estimate' })).shouldEstimateServerTools).toBe(true);
  expect(toLimitRules(limitsSchema.parse({ served_tools: 'exact' })).shouldEstimateServerTools).toBe(false);
});

test('converts amounts to whole nanodollars', () => {
  const limits = limitsSchema.parse({ usd_per_day: 0.1, usd_per_week: 0.000000001, usd_per_month: 9_000_000 });
  expect(toLimitRules(limits).spend).toEqual({
    hour: undefined,
    day: 100_000_000,
    week: 1,
    month: CEILING,
    total: undefined,
  });
  expect(Number.isSafeInteger(CEILING)).toBe(true);
});

test.each([
  { usd_per_day: -1 },
  { usd_per_day: 0.1 + 0.2 },
  { usd_per_day: 1e-10 },
  { usd_per_day: 9_000_001 },
  { usd_per_day: Number.NaN },
  { usd_per_day: '1' },
  { concurrent_requests: 1.5 },
  { on_shortfall: 'ignore' },
  { served_tools: 'guess' },
  { min_output_tokens: 0 },
  { models: ['ok', ''] },
  { usd_per_year: 1 },
])('rejects %j', (limits) => {
  expect(limitsSchema.safeParse(limits).success).toBe(false);
});
