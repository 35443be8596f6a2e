import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MODELS, ModelTable } from '#edge/claude/models/models.ts';
import { TRUNCATED_FILL_RATIO } from '#edge/conversations/history/history-ratios.ts';
import { tryCases } from '#test/support/property-cases.ts';
import { historyTable } from '../bench/history-cost.ts';
import { costOfHistory, type HistoryStrategy, type LongConversation } from '../bench/history-model.ts';

const rowOf = (name: string) => new ModelTable().findPriceRow(name).row;
const SONNET = rowOf('claude-sonnet-5-5');
const HAIKU = rowOf('claude-haiku-4-5');
const PLAIN: LongConversation = {
  model: SONNET,
  turns: 500,
  question: 200,
  answer: 600,
  system: 2_000,
  strategy: { kind: 'never' },
  isCached: false,
};
const SUMMARIZE = {
  kind: 'summarize',
  most: 32_000,
  begins: 0.8,
  keeps: 0.5,
  summary: 2_000,
  instruction: 100,
} as const;

/** Models whose price is the same for prompts of every length. */
const model = fc.constantFrom(...MODELS.filter(({ prices }) => prices.long_prompt === undefined));
const lengths = {
  turns: fc.integer({ min: 1, max: 80 }),
  question: fc.integer({ min: 1, max: 900 }),
  answer: fc.integer({ min: 1, max: 2_000 }),
  system: fc.integer({ min: 0, max: 6_000 }),
};
const part = fc.integer({ min: 30, max: 100 }).map((percent) => percent / 100);
const most = fc.integer({ min: 4_000, max: 60_000 });
const strategy = fc.oneof(
  fc.constant<HistoryStrategy>({ kind: 'never' }),
  fc.record({ kind: fc.constant('truncate' as const), most, filled: fc.constant(TRUNCATED_FILL_RATIO) }),
  fc.record({
    kind: fc.constant('summarize' as const),
    most,
    begins: part,
    keeps: part,
    summary: fc.integer({ min: 1, max: 2_000 }),
    instruction: fc.integer({ min: 0, max: 200 }),
  }),
);
const conversation = fc.record({ model, ...lengths, strategy, isCached: fc.boolean() });

/** What each turn adds to the cost, its summary included. */
function turnsOf(given: LongConversation) {
  const costs = Array.from({ length: given.turns + 1 }, (_, turns) => costOfHistory({ ...given, turns }));
  return costs.slice(1).map((cost, before) => ({
    prompt: cost.promptTokens - (costs[before]?.promptTokens ?? 0),
    isShortened: cost.shortened > (costs[before]?.shortened ?? 0),
    answered: cost.answered,
  }));
}

test('without caching, every prompt token costs the input price, with any history strategy', () => {
  tryCases(100, conversation, (given) => {
    const { usd, promptTokens, outputTokens } = costOfHistory({ ...given, isCached: false });
    const { input, output } = given.model.prices;
    expect(usd).toBeCloseTo((promptTokens * input + outputTokens * output) / 1e6, 5);
  });
});

test('caching without summaries changes only the cost, which stays between reading and writing every prompt token', () => {
  tryCases(100, conversation, (given) => {
    fc.pre(given.strategy.kind !== 'summarize');
    const { usd, ...cached } = costOfHistory({ ...given, isCached: true });
    const { usd: plain, ...same } = costOfHistory({ ...given, isCached: false });
    expect(cached).toEqual(same);
    const { input, cache_write_5m: write, cache_read: read } = given.model.prices;
    // All of it read, and all of it written.
    expect(usd).toBeGreaterThanOrEqual(plain - (cached.promptTokens * (input - read)) / 1e6 - 1e-9);
    expect(usd).toBeLessThanOrEqual(plain + (cached.promptTokens * (write - input)) / 1e6 + 1e-9);
  });
});

test('a cached conversation that is never shortened reads each prompt once and writes each token once', () => {
  tryCases(100, fc.record({ model, ...lengths }), ({ model, ...long }) => {
    const given: LongConversation = { ...PLAIN, ...long, model, system: 6_000 + long.system, isCached: true };
    const prompt = (turn: number) => given.system + turn * (given.question + given.answer) + given.question;
    fc.pre(prompt(given.turns - 1) + given.answer <= model.max_input_tokens);
    const prompts = Array.from({ length: given.turns }, (_, turn) => prompt(turn));
    const read = prompts.slice(0, -1).reduce((sum, one) => sum + one, 0);
    const { cache_write_5m, cache_read, output } = model.prices;
    const usd = read * cache_read + prompt(given.turns - 1) * cache_write_5m + given.turns * given.answer * output;
    expect(costOfHistory(given).usd).toBeCloseTo(usd / 1e6, 5);
  });
});

test('no history exceeds its limit, and a truncated one is filled to the truncation ratio at most', () => {
  tryCases(40, conversation, (given) => {
    const { strategy, system, question, answer } = given;
    if (strategy.kind === 'never') return;
    // A question, a turn and a summary must fit into it.
    const least = question + 2 * (question + answer) + (strategy.kind === 'summarize' ? strategy.summary : 0);
    const room = strategy.most;
    if (least > room) return;
    for (const { prompt, isShortened } of turnsOf(given)) {
      if (!isShortened) expect(prompt - system).toBeLessThanOrEqual(room);
      else if (strategy.kind === 'truncate')
        expect(prompt - system).toBeLessThanOrEqual(strategy.most * TRUNCATED_FILL_RATIO);
    }
  });
});

test('a summary reads the messages that it replaces from the cache, and the next turn writes its prompt again', () => {
  // 21 turns are 16,800 tokens: more than 80 % of 20,000, so all but 12 of them are replaced.
  const given: LongConversation = { ...PLAIN, strategy: { ...SUMMARIZE, most: 20_000 }, isCached: true };
  const [before, after] = [21, 22].map((turns) => costOfHistory({ ...given, turns }));
  expect([before?.shortened, after?.shortened]).toEqual([0, 1]);
  const { cache_read, cache_write_5m, input, output } = SONNET.prices;
  const summary = (2_000 + 9 * 800 - 600) * cache_read + 600 * cache_write_5m + 100 * input + 2_000 * output;
  const turn = (2_000 + 2_000 + 12 * 800 + 200) * cache_write_5m + 600 * output;
  expect((after?.usd ?? 0) - (before?.usd ?? 0)).toBeCloseTo((summary + turn) / 1e6, 9);
});

test('without caching, a summary is created only if the next prompt would be too long', () => {
  const given: LongConversation = { ...PLAIN, strategy: { ...SUMMARIZE, most: 20_000 } };
  // 24 turns are 19,200 tokens, and 25 with a question are more than 20,000.
  expect([25, 26].map((turns) => costOfHistory({ ...given, turns }).shortened)).toEqual([0, 1]);
});

test('a conversation ends when the context window of its model is full', () => {
  const { answered } = costOfHistory({ ...PLAIN, model: HAIKU });
  expect(answered).toBe(247);
  // The next prompt, and its answer.
  expect(2_000 + 247 * 800 + 200 + 600).toBeGreaterThan(HAIKU.max_input_tokens);
  expect(2_000 + 246 * 800 + 200 + 600).toBeLessThanOrEqual(HAIKU.max_input_tokens);
  expect(costOfHistory({ ...PLAIN, model: HAIKU, strategy: SUMMARIZE }).answered).toBe(500);
});

test('docs/cost.md contains the table of history costs', async () => {
  const text = await readFile(new URL('../../docs/cost.md', import.meta.url), 'utf8');
  expect(text).toContain(historyTable());
});
