import { describe, expect, test } from 'vitest';
import { ModelTable } from '#edge/claude/models/models.ts';
import { computeMaximumCost } from '#edge/claude/pricing/maximum-cost.ts';
import type { ObservedPart } from '#edge/claude/usage/usage-report.ts';
import { computeInterruptedCost } from '#edge/money/admission/interrupted-cost.ts';

const models = new ModelTable();
const MODEL = 'claude-opus-5-5';
const { row } = models.findPriceRow(MODEL);
const ASK = { model: MODEL, max_tokens: 1_000, messages: [{ role: 'user', content: 'Hi' }] };
const { terms } = computeMaximumCost(ASK, { bytes: 100, models });
const SEEN: ObservedPart = {
  said: 0,
  thinking: 0,
  unseen_ms: 0,
  silent_ms: 0,
  searches: 0,
  advised: 0,
  advised_tokens: 0,
  opaque_uses: 0,
  lost_ms: 0,
  quiet_ms: 0,
  uses: 0,
  running_uses: 0,
  longest_result: 0,
  runs_code: false,
  later_prompts: [],
  final: false,
};
// Nanodollars a token.
const [INPUT, OUTPUT] = [4_000, 20_000];
const SEARCH = 10_000_000;
const usage = { input_tokens: 100, output_tokens: 1 };
/** The prompt, and what may be on its way: a quarter of a second at 500 tokens a second. */
const LEAST = 100 * INPUT + 125 * OUTPUT;

/** @returns what an answer is booked at of which this was seen; nanodollars */
function booked(seen: Partial<ObservedPart>, more: object = {}, granted: object = {}): number {
  const learned = { handOversPerSecond: 0.01, tokensPerSecond: undefined, longestResult: () => 0 };
  const grant = {
    hold: 1e12,
    mostOutput: undefined,
    terms,
    cancelStops: true,
    sharesCache: true,
    learned,
    ...granted,
  };
  return computeInterruptedCost(
    { usage: { ...usage, ...more }, seen: { ...SEEN, ...seen }, handoverModels: [], row },
    grant,
  ).cost;
}

test('counts the observed output, the tokens possibly in flight, and each search once', () => {
  expect(booked({})).toBe(LEAST);
  expect(booked({ said: 50 })).toBe(LEAST + 50 * OUTPUT);
  expect(booked({ searches: 3 })).toBe(LEAST + 3 * SEARCH);
  expect(booked({ searches: 3 }, { server_tool_use: { web_search_requests: 2 } })).toBe(LEAST + 3 * SEARCH);
});

test('counts silence as the most output that the model can have written, up to the grant', () => {
  // 500 tokens a second.
  expect(booked({ silent_ms: 2_000 })).toBe(LEAST + 1_000 * OUTPUT);
  expect(booked({ unseen_ms: 1_500 })).toBe(LEAST + 750 * OUTPUT);
  expect(booked({ silent_ms: 20_000 }, {}, { mostOutput: 1_000 })).toBe(100 * INPUT + 1_000 * OUTPUT);
  expect(booked({ silent_ms: 20_000 }, {}, { hold: 5_000_000 })).toBe(5_000_000);
});

test('counts each later prompt in full, at a higher price in the US', () => {
  const later = { later_prompts: [{ tokens: 400, unseen_ms: 0 }] };
  expect(booked(later)).toBe(500 * INPUT + LEAST);
  expect(booked(later, { inference_geo: 'us' })).toBe(((500 * INPUT + LEAST) * 11) / 10);
});

test('settles at the hold if generation continues after a disconnection or cannot be derived', () => {
  expect(booked({}, {}, { cancelStops: false, hold: 7_000_000 })).toBe(7_000_000);
  expect(booked({ opaque_uses: 1 }, {}, { hold: 7_000_000 })).toBe(7_000_000);
});

test('counts a prompt reported as 0 as it was held, and final output as it was reported', () => {
  const held = terms.promptCost + 125 * OUTPUT;
  expect(booked({}, { input_tokens: 0 })).toBe(held);
  expect(booked({ searches: 2 }, { input_tokens: 0 })).toBe(held + 2 * SEARCH);
  expect(booked({}, { input_tokens: 0 }, { hold: 1_000_000 })).toBe(1_000_000);
  // Its iterations tell one.
  const iterations = [{ type: 'message', input_tokens: 100, output_tokens: 125 }];
  expect(booked({}, { input_tokens: 0, iterations })).toBe(LEAST);
  const ended = { input_tokens: 0, output_tokens: 40 };
  const told = terms.promptCost + 40 * OUTPUT;
  expect(booked({ final: true, said: 90, silent_ms: 9_000 }, ended, { cancelStops: false })).toBe(told);
  expect(booked({ final: false, said: 90 }, ended)).toBe(held + 90 * OUTPUT);
});

describe('a second model that may have begun unobserved', () => {
  const [ADVICE, MORE_TOKENS] = [2_048, 1.35];
  const secondTerms = (more: object) => computeMaximumCost({ ...ASK, ...more }, { bytes: 100, models }).terms;
  const advised = secondTerms({ tools: [{ type: 'advisor_20260301', name: 'advisor', model: MODEL, max_uses: 3 }] });
  const handed = secondTerms({ fallbacks: [{ model: MODEL }] });
  const prompt = { input_tokens: 1_000, cache_read_input_tokens: 99_000 };
  const rate = { learned: { handOversPerSecond: 0.04, tokensPerSecond: undefined, longestResult: () => 0 } };
  const bookedFor = (second: typeof terms, seen: Partial<ObservedPart>, more = {}) =>
    booked(seen, prompt, { terms: second, ...rate, ...more }) - booked(seen, prompt);
  const IN_FLIGHT = 125 * OUTPUT;

  test('counts as an advisor only after a block or during a silence', () => {
    expect(bookedFor(advised, { said: 50 })).toBe(0);
    expect(bookedFor(advised, { said: 50, quiet_ms: 500 })).toBe(0);
    const advice = Math.ceil((100_000 + 125 + ADVICE) * MORE_TOKENS) * INPUT + IN_FLIGHT;
    expect(bookedFor(advised, { is_between: true })).toBe(advice);
    expect(bookedFor(advised, { quiet_ms: 501 })).toBe(advice);
    const usedUp = { advised: 3 };
    expect(bookedFor(advised, { ...usedUp, is_between: true })).toBe(bookedFor(advised, usedUp));
  });

  test('counts as a fallback by its frequency during a block, and in full after it', () => {
    const cached = row.prices.cache_read * 1_000;
    const whole = Math.ceil(1_000 * MORE_TOKENS) * INPUT + Math.ceil(99_000 * MORE_TOKENS) * cached + IN_FLIGHT;
    expect(bookedFor(handed, { is_between: true })).toBe(whole);
    expect(bookedFor(handed, { quiet_ms: 501 })).toBe(whole);
    // A quarter of a second.
    expect(bookedFor(handed, { said: 50 })).toBe(Math.ceil(whole * 0.01));
    expect(bookedFor(handed, { said: 50, quiet_ms: 250 })).toBe(Math.ceil(whole * 0.02));
    // Behind a gateway nobody knows whether it shares the cache.
    const uncached = Math.ceil(100_000 * MORE_TOKENS) * INPUT + IN_FLIGHT;
    expect(bookedFor(handed, { is_between: true }, { sharesCache: false })).toBe(uncached);
  });

  test('does not change the first model’s limits by `max_tokens` and learned speed', () => {
    const learned = { handOversPerSecond: 0, tokensPerSecond: 100, longestResult: () => 0 };
    for (const second of [advised, handed]) {
      const limited = { terms: second, learned, mostOutput: 200 };
      expect(booked({ said: 150 }, {}, limited)).toBe(100 * INPUT + 175 * OUTPUT);
      expect(booked({ said: 190 }, {}, limited)).toBe(100 * INPUT + 200 * OUTPUT);
    }
  });

  test('may exceed the request’s `max_tokens` after a fallback or advice', () => {
    const limited = { mostOutput: 200, terms: handed };
    const answer = { usage, seen: { ...SEEN, said: 900 }, row };
    const learned = { handOversPerSecond: 0, tokensPerSecond: undefined, longestResult: () => 0 };
    const grant = { hold: 1e12, cancelStops: true, sharesCache: true, learned, ...limited };
    const both = computeInterruptedCost({ ...answer, handoverModels: [row, row] }, grant);
    expect(both.usage.output_tokens).toBe(900 + 125);
    const withAdvice = { ...answer, seen: { ...answer.seen, uses: 1, advised: 1 }, handoverModels: [] };
    expect(computeInterruptedCost(withAdvice, { ...grant, terms: advised }).usage.output_tokens).toBe(900 + 125);
  });
});

test('counts the result of a running tool use by known lengths, up to `max_content_tokens`', () => {
  const served = (tool: object) =>
    computeMaximumCost({ ...ASK, tools: [{ max_uses: 3, ...tool }] }, { bytes: 100, models }).terms;
  const fetch = { type: 'web_fetch_20260209', name: 'web_fetch' };
  const search = { type: 'web_search_20260209', name: 'web_search' };
  const running = (tool: { name: string }, known = 0) => {
    const learned = { handOversPerSecond: 1, tokensPerSecond: undefined, longestResult: () => known };
    const seen = { uses: 1, running_uses: 1, running_tools: [tool.name], runs_tool: true };
    const later_prompts = [{ tokens: 40, unseen_ms: 0 }];
    const cost = booked({ ...seen, later_prompts }, {}, { terms: served(tool), learned });
    // The prompt of the step behind it, and for a search another one that may have begun.
    return (cost - LEAST - 140 * INPUT - ('type' in tool && tool.name === 'web_search' ? SEARCH : 0)) / INPUT;
  };
  expect(running(search)).toBe(8_000);
  expect(running(search, 12_000)).toBe(12_000);
  expect(running(fetch)).toBe(25_000);
  expect(running(fetch, 60_000)).toBe(60_000);
  // A page beside it.
  expect(running({ ...fetch, max_content_tokens: 5_000 } as typeof fetch, 60_000)).toBeLessThan(10_000);
  expect(running({ ...fetch, max_content_tokens: 90_000 } as typeof fetch)).toBe(91_000);
});
