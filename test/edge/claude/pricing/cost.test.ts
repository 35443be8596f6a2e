import fc from 'fast-check';
import { expect, test } from 'vitest';
import { getFastModePrices, MODELS, type Model, ModelTable, supportsFastMode } from '#edge/claude/models/models.ts';
import {
  computeCost,
  computeInputCosts,
  computeSavings,
  countPromptTokens,
  toNanodollarsPerToken,
  toUsd,
  type Usage,
  usdToNanodollars,
} from '#edge/claude/pricing/cost.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const table = new ModelTable();

function row(name: string): Model {
  const found = table.findRow(name);
  if (!found) throw new Error(`no row for ${name}`);
  return found;
}

/** A thousand tokens of each kind. */
const THOUSAND = {
  input: { input_tokens: 1_000 },
  output: { output_tokens: 1_000 },
  write_5m: { cache_creation_input_tokens: 1_000, cache_creation: { ephemeral_5m_input_tokens: 1_000 } },
  write_1h: { cache_creation_input_tokens: 1_000, cache_creation: { ephemeral_1h_input_tokens: 1_000 } },
  read: { cache_read_input_tokens: 1_000 },
} satisfies Record<string, Usage>;

// Nanodollars for a thousand tokens: input, output, cache write 5m, cache write 1h, cache read.
const TABLE: [string, number, number, number, number, number][] = [
  ['claude-fable-5-2', 8_000_000, 40_000_000, 10_000_000, 16_000_000, 200_000],
  ['claude-mythos-5-2', 8_000_000, 40_000_000, 10_000_000, 16_000_000, 200_000],
  ['claude-fable-5-1', 10_000_000, 50_000_000, 12_500_000, 20_000_000, 250_000],
  ['claude-mythos-5-1', 10_000_000, 50_000_000, 12_500_000, 20_000_000, 250_000],
  ['claude-fable-5', 10_000_000, 50_000_000, 12_500_000, 20_000_000, 1_000_000],
  ['claude-mythos-5', 10_000_000, 50_000_000, 12_500_000, 20_000_000, 1_000_000],
  ['claude-opus-5-5', 4_000_000, 20_000_000, 5_000_000, 8_000_000, 200_000],
  ['claude-opus-5', 5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
  ['claude-opus-4-8', 5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
  ['claude-opus-4-7', 5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
  ['claude-opus-4-6', 5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
  ['claude-opus-4-5', 5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
  ['claude-opus-4-5-20251101', 5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
  ['claude-sonnet-5-5', 2_000_000, 10_000_000, 2_500_000, 4_000_000, 100_000],
  ['claude-sonnet-5', 2_000_000, 10_000_000, 2_500_000, 4_000_000, 200_000],
  ['claude-sonnet-4-6', 3_000_000, 15_000_000, 3_750_000, 6_000_000, 300_000],
  ['claude-sonnet-4-5', 3_000_000, 15_000_000, 3_750_000, 6_000_000, 300_000],
  ['claude-sonnet-4-5-20250929', 3_000_000, 15_000_000, 3_750_000, 6_000_000, 300_000],
  ['claude-haiku-5-5', 100_000, 500_000, 125_000, 200_000, 10_000],
  ['claude-haiku-4-5', 1_000_000, 5_000_000, 1_250_000, 2_000_000, 100_000],
  ['claude-haiku-4-5-20251001', 1_000_000, 5_000_000, 1_250_000, 2_000_000, 100_000],
];

test.each(TABLE)('%s has its published prices', (name, input, output, write5m, write1h, read) => {
  expect(computeCost(THOUSAND.input, row(name))).toBe(input);
  expect(computeCost(THOUSAND.output, row(name))).toBe(output);
  expect(computeCost(THOUSAND.write_5m, row(name))).toBe(write5m);
  expect(computeCost(THOUSAND.write_1h, row(name))).toBe(write1h);
  expect(computeCost(THOUSAND.read, row(name))).toBe(read);
});

test('the price cases cover every model of the table', () => {
  expect(new Set(TABLE.map(([name]) => row(name).id))).toEqual(new Set(MODELS.map(({ id }) => id)));
});

// Nanodollars for a thousand tokens at fast speed: input, output, cache read.
test.each([
  ['claude-fable-5-2', 16_000_000, 80_000_000, 400_000],
  ['claude-mythos-5-2', 16_000_000, 80_000_000, 400_000],
  ['claude-opus-5-5', 8_000_000, 40_000_000, 400_000],
  ['claude-opus-5', 10_000_000, 50_000_000, 1_000_000],
  ['claude-opus-4-8', 10_000_000, 50_000_000, 1_000_000],
])('%s has its published prices at fast speed', (name, input, output, read) => {
  expect(computeCost({ ...THOUSAND.input, speed: 'fast' }, row(name))).toBe(input);
  expect(computeCost({ ...THOUSAND.output, speed: 'fast' }, row(name))).toBe(output);
  expect(computeCost({ ...THOUSAND.read, speed: 'fast' }, row(name))).toBe(read);
  expect(computeCost({ ...THOUSAND.write_5m, speed: 'fast' }, row(name))).toBeGreaterThan(
    computeCost(THOUSAND.write_5m, row(name)),
  );
  expect(computeCost({ ...THOUSAND.output, speed: 'standard' }, row(name))).toBe(
    computeCost(THOUSAND.output, row(name)),
  );
});

test('Opus 4.6 supports fast speed, without separate prices', () => {
  const opus = row('claude-opus-4-6');
  expect(getFastModePrices(opus)).toBeUndefined();
  expect(supportsFastMode(opus)).toBe(true);
  expect(supportsFastMode(row('claude-opus-4-7'))).toBe(false);
});

test('Haiku 5.5 has higher prices for the whole request if the prompt exceeds 100,000 tokens', () => {
  const haiku = row('claude-haiku-5-5');
  // At 100,000: 100,000 × 100 + 1,000 × 500. One more: 100,001 × 500 + 1,000 × 2,500.
  expect(computeCost({ input_tokens: 100_000, output_tokens: 1_000 }, haiku)).toBe(10_500_000);
  expect(computeCost({ input_tokens: 100_001, output_tokens: 1_000 }, haiku)).toBe(52_500_500);
  // Cache reads and writes are part of the prompt: 50,000 input, 30,000 read, 20,000 written for an hour.
  const cached = {
    input_tokens: 50_000,
    cache_read_input_tokens: 30_000,
    cache_creation_input_tokens: 20_000,
    cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 20_000 },
    output_tokens: 10,
  };
  expect(computeCost(cached, haiku)).toBe(5_000_000 + 300_000 + 4_000_000 + 5_000);
  expect(computeCost({ ...cached, cache_read_input_tokens: 30_001 }, haiku)).toBe(
    25_000_000 + 1_500_050 + 20_000_000 + 25_000,
  );
  // Output is not.
  expect(computeCost({ input_tokens: 1, output_tokens: 200_000 }, haiku)).toBe(100 + 100_000_000);
  // 5m writes of the long tier: 100,001 × 625.
  expect(computeCost({ cache_creation_input_tokens: 100_001 }, haiku)).toBe(62_500_625);
});

test('prices cache writes by their reported lifetimes, and the rest by the longest requested lifetime', () => {
  const sonnet = row('claude-sonnet-5-5');
  const written = (usage: Usage, cacheTtl?: '1h') => computeCost(usage, sonnet, { cacheTtl });
  expect(written({ cache_creation_input_tokens: 10 })).toBe(25_000);
  expect(written({ cache_creation_input_tokens: 10, cache_creation: null })).toBe(25_000);
  const split = { ephemeral_5m_input_tokens: 4, ephemeral_1h_input_tokens: 6 };
  expect(written({ cache_creation_input_tokens: 10, cache_creation: split })).toBe(10_000 + 24_000);
  // `message_start` had the split, `message_delta` a later total: what is new in it is unsaid.
  expect(written({ cache_creation_input_tokens: 12, cache_creation: split })).toBe(15_000 + 24_000);
  expect(written({ cache_creation_input_tokens: 12, cache_creation: split }, '1h')).toBe(10_000 + 32_000);
  expect(written({ cache_creation_input_tokens: 10 }, '1h')).toBe(40_000);
  expect(written({ cache_creation: split })).toBe(10_000 + 24_000);
  expect(countPromptTokens({ input_tokens: 1, cache_read_input_tokens: 2, cache_creation: split })).toBe(13);
});

test('prices geography, batches and web searches as published', () => {
  const sonnet = row('claude-sonnet-5-5');
  const usage = { input_tokens: 1_000, output_tokens: 100 };
  expect(computeCost(usage, sonnet)).toBe(3_000_000);
  expect(computeCost({ ...usage, inference_geo: 'us' }, sonnet)).toBe(3_300_000);
  expect(computeCost({ ...usage, inference_geo: 'global' }, sonnet)).toBe(3_000_000);
  expect(computeCost(usage, sonnet, { batch: true })).toBe(1_500_000);
  // What a gateway says of a tier makes nothing cheaper.
  expect(computeCost({ ...usage, service_tier: 'batch' }, sonnet)).toBe(3_000_000);
  expect(computeCost({ ...usage, inference_geo: 'us' }, sonnet, { batch: true })).toBe(1_650_000);
  // A search is not a token: neither halved nor raised.
  const searched = {
    ...usage,
    inference_geo: 'us',
    server_tool_use: { web_search_requests: 3, web_fetch_requests: 9 },
  };
  expect(computeCost(searched, sonnet, { batch: true })).toBe(1_650_000 + 30_000_000);
});

test('adds compaction and advisor iterations to the totals, at the prices of their models', () => {
  const usage = (iterations: Usage['iterations']) => ({ input_tokens: 100, output_tokens: 10, iterations });
  const opus = row('claude-opus-5-5');
  const priceOf = (name: string) => table.findPriceRow(name).row;
  expect(computeCost(usage([{ type: 'message', input_tokens: 100, output_tokens: 10 }]), opus)).toBe(600_000);
  expect(computeCost(usage([{ type: 'compaction', input_tokens: 1_000, output_tokens: 50 }]), opus)).toBe(
    600_000 + 5_000_000,
  );
  const advisor = { type: 'advisor_message', model: 'claude-haiku-4-5', input_tokens: 1_000, output_tokens: 50 };
  expect(computeCost(usage([advisor]), opus, { priceOf })).toBe(600_000 + 1_250_000);
  expect(computeCost(usage([advisor, { ...advisor, cache_read_input_tokens: 10 }]), opus, { priceOf })).toBe(
    600_000 + 1_250_000 + 1_251_000,
  );
  // An advisor's prompt has a tier of its own.
  const long = { type: 'advisor_message', model: 'claude-haiku-5-5', input_tokens: 100_001 };
  expect(computeCost(usage([long]), opus, { priceOf })).toBe(600_000 + 50_000_500);
});

test('prices each iteration at its own speed, which the totals may not contain', () => {
  const opus = row('claude-opus-5-5');
  const [one, other] = [
    { type: 'message', input_tokens: 1_000, output_tokens: 100 },
    { type: 'message', input_tokens: 2_000, output_tokens: 50 },
  ];
  const priceWith = (iterations: Usage['iterations'], more: Partial<Usage> = {}) =>
    computeCost({ input_tokens: 3_000, output_tokens: 150, iterations, ...more }, opus);
  // Standard: $4 and $20 a million tokens. Fast: twice that.
  expect(priceWith([one, { ...other, speed: 'fast' }])).toBe(6_000_000 + 18_000_000);
  expect(
    priceWith([
      { ...one, speed: 'fast' },
      { ...other, speed: 'fast' },
    ]),
  ).toBe(12_000_000 + 18_000_000);
  expect(priceWith([one, { ...other, speed: 'standard' }], { speed: 'fast' })).toBe(12_000_000 + 9_000_000);
  expect(priceWith([one, other], { speed: 'fast' })).toBe(30_000_000);
  const advice = { type: 'advisor_message', model: 'claude-opus-5-5', input_tokens: 1_000, output_tokens: 100 };
  expect(priceWith([one, other, { ...advice, speed: 'fast' }])).toBe(15_000_000 + 12_000_000);
});

const tokens = fc.option(fc.nat(1_000_000));
const usage = fc.record(
  {
    input_tokens: tokens,
    output_tokens: tokens,
    cache_read_input_tokens: tokens,
    cache_creation_input_tokens: tokens,
    cache_creation: fc.option(
      fc.record({ ephemeral_5m_input_tokens: tokens, ephemeral_1h_input_tokens: tokens }, { requiredKeys: [] }),
    ),
    server_tool_use: fc.option(fc.record({ web_search_requests: fc.option(fc.nat(20)) })),
    inference_geo: fc.constantFrom('us', 'global', null),
    service_tier: fc.constantFrom('standard', 'batch', null),
    speed: fc.constantFrom('fast', 'standard', null),
    iterations: fc.option(
      fc.array(
        fc.record({ type: fc.constantFrom('message', 'compaction', 'advisor_message'), output_tokens: tokens }),
        {
          maxLength: 3,
        },
      ),
    ),
  },
  { requiredKeys: [] },
);
const anyModel = fc.constantFrom(...MODELS);

test('computeSavings compares cached tokens with plain input, by tier, batch and iteration', () => {
  const haiku = row('claude-haiku-5-5');
  const { input, cache_read, cache_write_1h, long_prompt } = haiku.prices;
  const step = { type: 'message', ...THOUSAND.read };
  const cases: [Usage, Parameters<typeof computeSavings>[2], number][] = [
    [{ ...THOUSAND.input, ...THOUSAND.output }, {}, 0],
    [THOUSAND.read, {}, input - cache_read],
    [THOUSAND.write_1h, {}, input - cache_write_1h],
    [THOUSAND.read, { batch: true }, (input - cache_read) / 2],
    [{ input_tokens: 0, output_tokens: 0, iterations: [step, step] }, {}, 2 * (input - cache_read)],
    [
      { cache_read_input_tokens: 200_000 },
      {},
      200 * ((long_prompt?.input ?? Number.NaN) - (long_prompt?.cache_read ?? Number.NaN)),
    ],
  ];
  for (const [usage, options, dollarsAMillion] of cases) {
    expect(computeSavings(usage, haiku, options)).toBe(Math.round(dollarsAMillion * 1_000_000));
  }
});

test('a cost is always a whole number of nanodollars, and never negative', () => {
  tryCases(caseCount(2_000), usage, anyModel, fc.boolean(), (used, model, batch) => {
    const price = computeCost(used, model, { batch });
    expect(Number.isSafeInteger(price)).toBe(true);
    expect(price).toBeGreaterThanOrEqual(0);
  });
});

test('returns a non-negative cost for any reported usage', () => {
  const odd = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom(-1, '5', Number.NaN, Number.POSITIVE_INFINITY));
  const names = ['input_tokens', 'output_tokens', 'cache_creation', 'server_tool_use', 'iterations', 'speed'] as const;
  tryCases(caseCount(1_000), fc.constantFrom(...names), odd, anyModel, (name, value, model) => {
    const used = { input_tokens: 10, [name]: value } as Usage;
    expect(computeCost(used, model)).toBeGreaterThanOrEqual(0);
    expect(computeCost({ ...used, iterations: [null, value] as unknown } as Usage, model)).toBeGreaterThanOrEqual(0);
  });
});

test('more tokens of any kind never cost less', () => {
  const kinds = ['input_tokens', 'output_tokens', 'cache_read_input_tokens', 'cache_creation_input_tokens'] as const;
  tryCases(caseCount(2_000), usage, anyModel, fc.constantFrom(...kinds), fc.nat(200_000), (told, model, kind, more) => {
    // No total is less than the sum of its steps: with one that is, a token more would turn the price to the total.
    const steps = (told.iterations ?? []).filter(({ type }) => type === 'message');
    const said = steps.reduce((sum, { output_tokens }) => sum + (output_tokens ?? 0), 0);
    const used = { ...told, output_tokens: Math.max(told.output_tokens ?? 0, said) };
    const larger = { ...used, [kind]: (used[kind] ?? 0) + more };
    expect(computeCost(larger, model)).toBeGreaterThanOrEqual(computeCost(used, model));
  });
});

test('rounds the cost up once: a cached token of Haiku 5.5, in the US, in a batch', () => {
  // 10 nanodollars × 1.1 ÷ 2 = 5.5; three of them 16.5.
  const costOf = (cache_read_input_tokens: number) =>
    computeCost({ inference_geo: 'us', cache_read_input_tokens }, row('claude-haiku-5-5'), { batch: true });
  expect(costOf(1)).toBe(6);
  expect(costOf(3)).toBe(17);
});

test('converts between dollars and nanodollars without loss, up to a million dollars', () => {
  tryCases(
    100,
    fc.nat(1_000_000).chain((usd) => fc.nat(999_999_999).map((rest) => usd * 1_000_000_000 + rest)),
    (nanodollars) => {
      expect(usdToNanodollars(toUsd(nanodollars))).toBe(nanodollars);
    },
  );
  expect(toNanodollarsPerToken(0.625)).toBe(625);
  expect(toNanodollarsPerToken(0.01)).toBe(10);
});

test('computeInputCosts returns the cost of each kind of input, by the prompt’s length', () => {
  const haiku = row('claude-haiku-5-5');
  expect(computeInputCosts(100_000, haiku)).toEqual({
    input: 0.01,
    cache_write_5m: 0.0125,
    cache_write_1h: 0.02,
    cache_read: 0.001,
  });
  expect(computeInputCosts(200_000, haiku)).toEqual({
    input: 0.1,
    cache_write_5m: 0.125,
    cache_write_1h: 0.2,
    cache_read: 0.01,
  });
});
