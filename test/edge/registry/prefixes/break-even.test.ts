import { expect, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { usdToNanodollars } from '#edge/claude/pricing/cost.ts';
import { computeBreakEvenRequests, computePrefixCachingCosts } from '#edge/registry/prefixes/break-even.ts';

test('computes the smallest n with write + (n − 1) · read < n · input for every model, lifetime and length', () => {
  for (const model of MODELS) {
    for (const ttl of ['5m', '1h'] as const) {
      // The second is above the tier of the models that have one.
      for (const tokens of [1, 4_097, 150_000]) {
        const costs = computePrefixCachingCosts(tokens, model, ttl);
        const [cold, write, read] = [
          usdToNanodollars(costs.cold),
          usdToNanodollars(costs.write),
          usdToNanodollars(costs.read),
        ];
        let n = 1;
        while (!(write + (n - 1) * read < n * cold)) n += 1;
        expect({ model: model.id, ttl, tokens, n: computeBreakEvenRequests(costs) }).toEqual({
          model: model.id,
          ttl,
          tokens,
          n,
        });
      }
    }
  }
});

test('computes the costs of caching from the price table', () => {
  const [haiku] = MODELS.filter(({ id }) => id === 'claude-haiku-5-5');
  if (!haiku) throw new Error('no haiku');
  expect(computePrefixCachingCosts(100_000, haiku, '5m')).toEqual({ cold: 0.01, write: 0.0125, read: 0.001 });
  expect(computePrefixCachingCosts(100_000, haiku, '1h')).toEqual({ cold: 0.01, write: 0.02, read: 0.001 });
  expect(computePrefixCachingCosts(200_000, haiku, '5m')).toEqual({ cold: 0.1, write: 0.125, read: 0.01 });
});

test('computeBreakEvenRequests returns null if caching never pays, and 1 if caching is cheaper from the first request', () => {
  expect(computeBreakEvenRequests({ cold: 0, write: 0, read: 0 })).toBeNull();
  expect(computeBreakEvenRequests({ cold: 1, write: 2, read: 1 })).toBeNull();
  expect(computeBreakEvenRequests({ cold: 2, write: 1, read: 2 })).toBe(1);
  expect(computeBreakEvenRequests({ cold: 2, write: 1, read: 1 })).toBe(1);
  // On the bound it costs the same, which does not pay yet.
  expect(computeBreakEvenRequests({ cold: 2, write: 4, read: 0 })).toBe(3);
});
