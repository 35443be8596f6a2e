import fc from 'fast-check';
import { expect, test } from 'vitest';
import { computeCost } from '../../src/pricing/cost.ts';
import { MODELS, type ModelOverride, ModelTable, retiresSoon } from '../../src/pricing/models.ts';
import { runs, tryCases } from '../support/runs.ts';

const table = new ModelTable();

const M = 1_000_000;
const K = 1_000;

// Context, longest output, shortest cacheable prefix; undefined where nothing is published.
test.each([
  ['claude-fable-5-2', M, 128 * K, undefined],
  ['claude-mythos-5-2', M, 128 * K, undefined],
  ['claude-fable-5-1', M, 128 * K, 512],
  ['claude-mythos-5-1', M, 128 * K, 512],
  ['claude-fable-5', M, 128 * K, 512],
  ['claude-mythos-5', M, 128 * K, 512],
  ['claude-opus-5-5', M, 128 * K, 512],
  ['claude-opus-5', M, 128 * K, 512],
  ['claude-opus-4-8', M, 128 * K, 1_024],
  ['claude-opus-4-7', M, 128 * K, 2_048],
  ['claude-opus-4-6', M, 128 * K, 4_096],
  ['claude-opus-4-5', 200 * K, 64 * K, 4_096],
  ['claude-sonnet-5-5', M, 128 * K, 512],
  ['claude-sonnet-5', M, 128 * K, 1_024],
  ['claude-sonnet-4-6', M, 128 * K, 1_024],
  ['claude-sonnet-4-5', 200 * K, 64 * K, 1_024],
  ['claude-haiku-5-5', M, 128 * K, 512],
  ['claude-haiku-4-5', 200 * K, 64 * K, 4_096],
])('%s has the limits that are published', (name, context, output, cacheable) => {
  const model = table.find(name);
  expect(model).toMatchObject({ max_input_tokens: context, max_tokens: output });
  if (cacheable !== undefined) expect(model?.minimum_cacheable_tokens).toBe(cacheable);
});

test('a dated id and its alias are one model, and no name stands for two', () => {
  for (const [alias, id] of [
    ['claude-opus-4-5', 'claude-opus-4-5-20251101'],
    ['claude-sonnet-4-5', 'claude-sonnet-4-5-20250929'],
    ['claude-haiku-4-5', 'claude-haiku-4-5-20251001'],
  ] as const) {
    expect(table.find(alias)?.id).toBe(id);
    expect(table.find(id)?.id).toBe(id);
    // The upstream knows its own aliases.
    expect(table.resolve(alias)).toBe(alias);
  }
  const names = MODELS.flatMap(({ id, aliases }) => [id, ...aliases]);
  expect(new Set(names).size).toBe(names.length);
});

test('a replacement is itself in the table and does not retire', () => {
  for (const { replacement } of MODELS) {
    if (replacement !== null) expect(table.find(replacement)).toMatchObject({ retires_at: null });
  }
});

test.each([
  ['claude-sonnet-4-5', '2026-11-30T00:00:00Z', 'claude-sonnet-5-5'],
  ['claude-opus-4-5', '2027-01-22T00:00:00Z', 'claude-opus-5-5'],
])('%s is announced from 60 days before its retirement, and for ever after', (name, retires, replacement) => {
  const retirement = Date.parse(retires);
  const day = 86_400_000;
  const model = table.find(name);
  expect(retiresSoon(model, retirement - 60 * day - 1)).toBeUndefined();
  expect(retiresSoon(model, retirement - 60 * day)).toBe(retires);
  expect(retiresSoon(model, retirement + 900 * day)).toBe(retires);
  expect(model?.replacement).toBe(replacement);
  expect(retiresSoon(table.find(replacement), retirement)).toBeUndefined();
  expect(retiresSoon(undefined)).toBeUndefined();
});

const usage = fc.record(
  {
    input_tokens: fc.nat(300_000),
    output_tokens: fc.nat(300_000),
    cache_read_input_tokens: fc.nat(300_000),
    cache_creation_input_tokens: fc.nat(300_000),
    speed: fc.constantFrom('fast', 'standard'),
  },
  { requiredKeys: [] },
);

test('an unknown model is marked, and costs no less than any model of the table would', () => {
  const unknown = table.price('claude-of-the-future');
  expect(unknown.known).toBe(false);
  expect(table.price('claude-haiku-4-5')).toMatchObject({ known: true, row: { id: 'claude-haiku-4-5-20251001' } });
  tryCases(runs(1_000), usage, fc.constantFrom(...MODELS), (used, model) => {
    expect(computeCost(used, unknown.row)).toBeGreaterThanOrEqual(computeCost(used, model));
  });
  // 10 dollars in, 50 out, 1 from the cache: Fable 5, the dearest at standard speed.
  expect(computeCost({ input_tokens: M, output_tokens: M, cache_read_input_tokens: M }, unknown.row)).toBe(
    61_000_000_000,
  );
});

test('a row that PRICES makes dearest is what unknown models are priced by', () => {
  const prices = { input: 900, output: 900, cache_write_5m: 900, cache_write_1h: 900, cache_read: 900 };
  const dear = new ModelTable({ 'claude-dear': { prices } });
  expect(computeCost({ input_tokens: 1 }, dear.price('unheard-of').row)).toBe(900_000);
});

test('PRICES changes what it names of a row and leaves everything else', () => {
  const override: ModelOverride = { max_tokens: 5, prices: { output: 7 } };
  for (const name of ['claude-opus-4-5', 'claude-opus-4-5-20251101']) {
    const changed = new ModelTable({ [name]: override });
    const before = table.find('claude-opus-4-5');
    expect(changed.find('claude-opus-4-5')).toEqual({
      ...before,
      max_tokens: 5,
      prices: { ...before?.prices, output: 7 },
    });
    expect(changed.rows.filter(({ id }) => id !== 'claude-opus-4-5-20251101')).toEqual(
      table.rows.filter(({ id }) => id !== 'claude-opus-4-5-20251101'),
    );
  }
});

test('PRICES adds a row, whose unsaid prices are the dearest', () => {
  const added = new ModelTable({ 'claude-new': { display_name: 'New', aliases: ['newest'], prices: { input: 1 } } });
  expect(added.rows).toHaveLength(MODELS.length + 1);
  expect(added.find('newest')).toMatchObject({ id: 'claude-new', display_name: 'New', retires_at: null });
  expect(added.price('claude-new')).toMatchObject({
    known: true,
    row: { prices: { input: 1, output: 50, cache_read: 1 } },
  });
  expect(table.find('claude-new')).toBeUndefined();
});

test('MODEL_ALIASES stand for model ids, in prices as well, and only by their exact name', () => {
  const aliased = new ModelTable({}, { fast: 'claude-haiku-4-5', odd: 'claude-of-the-future' });
  expect(aliased.resolve('fast')).toBe('claude-haiku-4-5');
  expect(aliased.find('fast')?.id).toBe('claude-haiku-4-5-20251001');
  expect(aliased.price('odd').known).toBe(false);
  for (const name of ['Fast', 'toString', '__proto__', 'constructor', '']) {
    expect(aliased.resolve(name)).toBe(name);
    expect(aliased.find(name)).toBeUndefined();
  }
});
