import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  ANY_VALUE,
  addSums,
  groupUsageByValue,
  packSums,
  SUM_COLUMNS,
  type UsageSums,
  unpackSums,
} from '#edge/claude/pricing/usage-sums.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

/** What requests with the same values have used: of one dimension they have one value, several, or none. */
const used = fc.record({
  values: fc.uniqueArray(fc.constantFrom('a', 'b', 'c'), { maxLength: 3 }),
  sums: fc.record(Object.fromEntries(SUM_COLUMNS.map((column) => [column, fc.integer({ min: 1, max: 1_000 })]))),
});

test('groupUsageByValue returns one row per value, and null for requests without a value', () => {
  tryCases(caseCount(500), fc.array(used, { maxLength: 6 }), fc.boolean(), (requests, hasSeveral) => {
    const rows = requests.map(({ values, sums }) => ({
      values: hasSeveral ? values : values.slice(0, 1),
      sums: sums as UsageSums,
    }));
    const sumOf = (has: (values: readonly string[]) => boolean) =>
      addSums(rows.filter(({ values }) => has(values)).map(({ sums }) => sums));
    const named = ['a', 'b', 'c'].map((value) => ({ value, ...sumOf((values) => values.includes(value)) }));
    const tagged = { value: ANY_VALUE, ...sumOf((values) => values.length > 0) };
    const groups = [...(hasSeveral ? [tagged] : []), ...named].filter((group) => group.requests > 0);
    const data = groupUsageByValue(
      groups,
      sumOf(() => true),
      hasSeveral,
    );
    const without = { value: null, ...sumOf((values) => values.length === 0) };
    const expected = [...named, without].filter((group) => group.requests > 0);
    expect(data).toHaveLength(expected.length);
    for (const { value, requests: count, cost, input_tokens } of expected) {
      const row = data.find(({ key }) => key === value);
      expect(row).toMatchObject({ requests: count, cost_usd: cost / 1e9, usage: { input_tokens } });
    }
    const costs = data.map(({ cost_usd }) => cost_usd);
    expect(costs).toEqual(costs.toSorted((left, right) => right - left));
  });
});

test('unpackSums returns the sums that packSums packed', () => {
  tryCases(100, used, ({ sums }) => {
    expect(unpackSums(packSums(sums as UsageSums))).toEqual({ ...sums });
  });
});
