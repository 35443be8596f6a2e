import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  createSimulatorColumns,
  getUpcomingRetirement,
  MODELS,
  type ModelOverride,
  ModelTable,
} from '#edge/claude/models/models.ts';
import { computeCost } from '#edge/claude/pricing/cost.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

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
])('%s has its published limits', (name, context, output, cacheable) => {
  const model = table.findRow(name);
  expect(model).toMatchObject({ max_input_tokens: context, max_tokens: output });
  if (cacheable !== undefined) expect(model?.minimum_cacheable_tokens).toBe(cacheable);
});

const ALL = 'low medium high xhigh max';
const UP_TO_HIGH = 'low medium high';
const NOT_XHIGH = 'low medium high max';

// Thinking by itself, its types, the efforts beside which it can be switched off, the efforts and their default, forced tools.
test.each([
  ['claude-fable-5-2', 'always', 'adaptive', '', ALL, 'high', false],
  ['claude-mythos-5-2', 'always', 'adaptive', '', ALL, 'high', false],
  ['claude-fable-5-1', 'always', 'adaptive', '', ALL, 'high', false],
  ['claude-mythos-5-1', 'always', 'adaptive', '', ALL, 'high', false],
  ['claude-fable-5', 'always', 'adaptive', '', ALL, 'high', true],
  ['claude-mythos-5', 'always', 'adaptive', '', ALL, 'high', true],
  ['claude-opus-5-5', 'always', 'adaptive', '', ALL, 'medium', false],
  ['claude-opus-5', 'adaptive', 'adaptive disabled', UP_TO_HIGH, ALL, 'high', true],
  ['claude-opus-4-8', 'off', 'adaptive disabled', ALL, ALL, 'high', true],
  ['claude-opus-4-7', 'off', 'adaptive disabled', ALL, ALL, 'high', true],
  ['claude-opus-4-6', 'off', 'adaptive enabled disabled', NOT_XHIGH, NOT_XHIGH, 'high', true],
  ['claude-opus-4-5', 'off', 'enabled disabled', UP_TO_HIGH, UP_TO_HIGH, 'high', true],
  ['claude-sonnet-5-5', 'adaptive', 'adaptive between_tools', UP_TO_HIGH, ALL, 'high', false],
  ['claude-sonnet-5', 'adaptive', 'adaptive disabled', ALL, ALL, 'high', true],
  ['claude-sonnet-4-6', 'off', 'adaptive enabled disabled', NOT_XHIGH, NOT_XHIGH, 'high', true],
  ['claude-sonnet-4-5', 'off', 'enabled disabled', '', '', null, true],
  ['claude-haiku-5-5', 'adaptive', 'adaptive disabled', UP_TO_HIGH, ALL, 'medium', true],
  ['claude-haiku-4-5', 'off', 'enabled disabled', '', '', null, true],
] as const)(
  '%s has its published thinking types, efforts and tool features',
  (name, byDefault, types, off, efforts, effort, forced) => {
    const listed = (text: string) => text.split(' ').filter(Boolean);
    expect(table.findRow(name)).toMatchObject({
      line: name.split('-')[1],
      thinking: { default: byDefault, types: listed(types), off_efforts: listed(off) },
      efforts: listed(efforts),
      default_effort: effort,
      forced_tools: forced,
      structured_output: true,
      binds_thinking: /-5-2$/.test(name),
      fast_until: name === 'claude-opus-4-8' ? '2026-11-30T00:00:00Z' : null,
    });
  },
);

/** Models that the SDK names and the table does not have. */
const LEFT_OUT = ['claude-mythos-preview'];

test('the table has the models that the installed SDK names', async () => {
  const file = createRequire(import.meta.url).resolve('@anthropic-ai/sdk/resources/messages/messages');
  const types = await readFile(file.replace(/\.\w+$/, '.d.ts'), 'utf8');
  const [, union = ''] = /^export type Model = (.*);$/m.exec(types) ?? [];
  const named = [...union.matchAll(/'([^']+)'/g)].map(([, id = '']) => id);
  expect(named.length).toBeGreaterThan(15);
  expect(named.filter((id) => !LEFT_OUT.includes(id) && table.findRow(id) === undefined)).toEqual([]);
  expect(LEFT_OUT.filter((id) => !named.includes(id) || table.findRow(id) !== undefined)).toEqual([]);
  const unnamed = MODELS.filter(({ id, aliases }) => ![id, ...aliases].some((name) => named.includes(name)));
  expect(unnamed.map(({ id }) => id)).toEqual([]);
});

test('a model without a row has no features unless PRICES sets them', () => {
  const bare = new ModelTable({ 'own-model': { prices: { input: 1 } } }).findRow('own-model');
  expect(bare).toMatchObject({
    line: null,
    thinking: null,
    efforts: [],
    forced_tools: false,
    structured_output: false,
  });
  const thinking = { default: 'always', types: ['adaptive'], off_efforts: [] } as const;
  expect(new ModelTable({ 'own-model': { thinking } }).findRow('own-model')?.thinking).toEqual(thinking);
  // A snapshot of a known model is what that is.
  const dated = new ModelTable({ 'claude-opus-5-5-20270101': { prices: { input: 1 } } }).findRow(
    'claude-opus-5-5-20270101',
  );
  expect(dated).toMatchObject({ line: 'opus', thinking: { default: 'always' } });
});

test('a dated id and its alias resolve to one model, and every name is unique', () => {
  for (const [alias, id] of [
    ['claude-opus-4-5', 'claude-opus-4-5-20251101'],
    ['claude-sonnet-4-5', 'claude-sonnet-4-5-20250929'],
    ['claude-haiku-4-5', 'claude-haiku-4-5-20251001'],
  ] as const) {
    expect(table.findRow(alias)?.id).toBe(id);
    expect(table.findRow(id)?.id).toBe(id);
    // The upstream knows its own aliases.
    expect(table.resolveAlias(alias)).toBe(alias);
  }
  const names = MODELS.flatMap(({ id, aliases }) => [id, ...aliases]);
  expect(new Set(names).size).toBe(names.length);
});

test('a replacement is itself in the table and does not retire', () => {
  for (const { replacement } of MODELS) {
    if (replacement !== null) expect(table.findRow(replacement)).toMatchObject({ retires_at: null });
  }
});

test.each([
  ['claude-sonnet-4-5', '2026-11-30T00:00:00Z', 'claude-sonnet-5-5'],
  ['claude-opus-4-5', '2027-01-22T00:00:00Z', 'claude-opus-5-5'],
])('%s is announced as retiring from the 60th day before its retirement', (name, retires, replacement) => {
  const retirement = Date.parse(retires);
  const day = 86_400_000;
  const model = table.findRow(name);
  expect(getUpcomingRetirement(model, retirement - 60 * day - 1)).toBeUndefined();
  expect(getUpcomingRetirement(model, retirement - 60 * day)).toBe(retires);
  expect(getUpcomingRetirement(model, retirement + 900 * day)).toBe(retires);
  expect(model?.replacement).toBe(replacement);
  expect(getUpcomingRetirement(table.findRow(replacement), retirement)).toBeUndefined();
  expect(getUpcomingRetirement(undefined)).toBeUndefined();
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

test('an unknown model is unlisted, and costs at least as much as any listed model', () => {
  const unknown = table.findPriceRow('claude-of-the-future');
  expect(unknown.isListed).toBe(false);
  expect(table.findPriceRow('claude-haiku-4-5')).toMatchObject({
    isListed: true,
    row: { id: 'claude-haiku-4-5-20251001' },
  });
  tryCases(caseCount(1_000), usage, fc.constantFrom(...MODELS), (used, model) => {
    expect(computeCost(used, unknown.row)).toBeGreaterThanOrEqual(computeCost(used, model));
  });
  // 10 dollars in, 50 out, 1 from the cache: Fable 5, the dearest at standard speed.
  expect(computeCost({ input_tokens: M, output_tokens: M, cache_read_input_tokens: M }, unknown.row)).toBe(
    61_000_000_000,
  );
});

test('unknown models get the highest prices, including those of PRICES', () => {
  const prices = { input: 900, output: 900, cache_write_5m: 900, cache_write_1h: 900, cache_read: 900 };
  const dear = new ModelTable({ 'claude-dear': { prices } });
  expect(computeCost({ input_tokens: 1 }, dear.findPriceRow('unheard-of').row)).toBe(900_000);
});

test('PRICES changes only the named fields of a row', () => {
  const override: ModelOverride = { max_tokens: 5, prices: { output: 7 } };
  for (const name of ['claude-opus-4-5', 'claude-opus-4-5-20251101']) {
    const changed = new ModelTable({ [name]: override });
    const before = table.findRow('claude-opus-4-5');
    expect(changed.findRow('claude-opus-4-5')).toEqual({
      ...before,
      max_tokens: 5,
      prices: { ...before?.prices, output: 7 },
    });
    expect(changed.rows.filter(({ id }) => id !== 'claude-opus-4-5-20251101')).toEqual(
      table.rows.filter(({ id }) => id !== 'claude-opus-4-5-20251101'),
    );
  }
});

test('PRICES adds a row whose missing prices default to the highest', () => {
  const added = new ModelTable({ 'claude-new': { display_name: 'New', aliases: ['newest'], prices: { input: 1 } } });
  expect(added.rows).toHaveLength(MODELS.length + 1);
  expect(added.findRow('newest')).toMatchObject({ id: 'claude-new', display_name: 'New', retires_at: null });
  expect(added.findPriceRow('claude-new')).toMatchObject({
    isListed: true,
    row: { prices: { input: 1, output: 50, cache_read: 1 } },
  });
  expect(table.findRow('claude-new')).toBeUndefined();
});

test('MODEL_ALIASES map exact names to model ids, also for prices', () => {
  const aliased = new ModelTable({}, { fast: 'claude-haiku-4-5', odd: 'claude-of-the-future' });
  expect(aliased.resolveAlias('fast')).toBe('claude-haiku-4-5');
  expect(aliased.findRow('fast')?.id).toBe('claude-haiku-4-5-20251001');
  expect(aliased.findPriceRow('odd').isListed).toBe(false);
  for (const name of ['Fast', 'toString', '__proto__', 'constructor', '']) {
    expect(aliased.resolveAlias(name)).toBe(name);
    expect(aliased.findRow(name)).toBeUndefined();
  }
});

test('the simulator’s columns exist for every model, and name only models of the table', () => {
  const ids = MODELS.map(({ id }) => id).sort();
  const columns: Record<string, object> = createSimulatorColumns();
  expect(Object.keys(columns).sort()).toEqual(ids);
  const lists = Object.values(columns).flatMap((one) => Object.entries(one));
  const named = lists.flatMap(([name, value]) => (/^(reads|refused_advisors)$/.test(name) ? (value as string[]) : []));
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter((id) => !ids.includes(id))).toEqual([]);
});
