import { describe, expect, test } from 'vitest';
import { ModelTable } from '#edge/claude/models/models.ts';
import type { RequestOutcome } from '#edge/claude/outcome.ts';
import { computeMaximumCost } from '#edge/claude/pricing/maximum-cost.ts';
import { createResponseReport, createUnobserved } from '#edge/claude/usage/usage-report.ts';
import { createStoredGrant } from '#edge/money/admission/attempt-settlement.ts';
import { createPricedSettlement, type RequestToPrice } from '#edge/money/admission/price-outcome.ts';

const models = new ModelTable();
const MODEL = 'claude-opus-5-5';
const MINUTE = 60_000;
/** A quarter of a second of the model's output, and what a minute of it may cost; nanodollars. */
const [IN_FLIGHT, BY_CLOCK] = [125 * 20_000, 30_000 * 20_000];
const BODY = { model: MODEL, max_tokens: 64_000, stream: true, messages: [{ role: 'user', content: 'Hi' }] };
const learned = { handOversPerSecond: 1 / 60, tokensPerSecond: undefined, longestResult: () => 0 };

/** @returns what is booked beside its prompt for a request that ran for a minute without an event; nanodollars */
function bookedFor(
  outcome: Partial<RequestOutcome>,
  more: { body?: object; place?: Partial<RequestToPrice> } = {},
): number {
  const body = { ...BODY, ...more.body };
  const { maximumCost: worstCase, terms } = computeMaximumCost(body, { bytes: 100, models });
  const grant = createStoredGrant(worstCase, terms, { hold: 1e12 });
  const place = { requestId: 'req_1', model: MODEL, models, isClaudeApi: true, learned, ...more.place };
  const ended = { status: undefined, end: 'cut', upstream_request_id: undefined, sent: true, ttft_ms: 0 } as const;
  const { cost } = createPricedSettlement(
    place,
    { ...createResponseReport(undefined, 0), ...ended, seen: createUnobserved(MINUTE), ...outcome },
    { ...grant, cancelStops: true },
  );
  return cost - terms.promptCost;
}

test('counts prompt and round-trip output of a Claude API stream that was stopped or left before its first event', () => {
  expect(bookedFor({ stopped: true })).toBe(IN_FLIGHT);
  expect(bookedFor({ end: 'client_gone' })).toBe(IN_FLIGHT);
});

test('estimates by the clock if output before the first event may have gone unobserved', () => {
  const byClock = BY_CLOCK + IN_FLIGHT;
  expect(bookedFor({ stopped: true }, { place: { isClaudeApi: false } })).toBe(byClock);
  expect(bookedFor({ stopped: true }, { body: { stream: false } })).toBe(byClock);
  expect(bookedFor({ stopped: true, unwatched: true })).toBe(byClock);
  // The connection may have been dead.
  expect(bookedFor({ end: 'cut' })).toBe(byClock);
  expect(bookedFor({ end: 'silent' })).toBe(byClock);
});

describe('a gateway’s response', () => {
  const priceOf = (name: string) => models.findPriceRow(name).row.prices.input * 1_000;
  const usage = { input_tokens: 1_000, output_tokens: 0 };
  /** @returns what is booked for an answer that this model is said to have given, and whether it is estimated */
  function answeredBy(name: string): { cost: number; estimated?: boolean | undefined } {
    const { maximumCost: worstCase, terms } = computeMaximumCost(BODY, { bytes: 100, models });
    const grant = {
      ...createStoredGrant(worstCase, terms, { outcome: 'admitted', hold: 1e12 } as never),
      cancelStops: true,
    };
    const place = { requestId: 'req_1', model: MODEL, models, isClaudeApi: false, learned };
    const report = { ...createResponseReport(undefined, 0), completed: true, model: name, usage };
    const ended = { status: 200, end: 'complete', upstream_request_id: undefined, sent: true, ttft_ms: 0 } as const;
    const { cost, estimated } = createPricedSettlement(place, { ...report, ...ended }, grant);
    return { cost, estimated };
  }

  test.each([
    'anthropic/claude-opus-5.5',
    'us.anthropic.claude-opus-5-5-v1:0',
    'anthropic.claude-opus-5-5',
    'claude-opus-5-5@20260901',
    'claude-opus-5.5',
  ])('is priced as the requested model under another spelling: %s', (name) => {
    expect(answeredBy(name)).toEqual({ cost: 1_000 * priceOf(MODEL), estimated: undefined });
  });

  test('is priced as its model if that is known, or else estimated as the requested model', () => {
    expect(answeredBy('anthropic/claude-haiku-5.5')).toEqual({ cost: 1_000 * priceOf('claude-haiku-5-5') });
    expect(answeredBy('the-best-model')).toEqual({ cost: 1_000 * priceOf(MODEL), estimated: true });
  });

  test('counts at least a sixteenth of a prompt’s bytes as tokens', () => {
    const bytes = 600_000;
    const counted = (count: number) => computeMaximumCost(BODY, { bytes, models, count }).terms.promptTokens;
    expect(counted(10)).toBeGreaterThanOrEqual(bytes / 16);
    expect(counted(0)).toBeGreaterThanOrEqual(bytes / 16);
    expect(counted(150_000)).toBe(153_000);
    // The bytes of a file say nothing of its pages.
    const source = { type: 'base64', media_type: 'application/pdf', data: '' };
    const file = { ...BODY, messages: [{ role: 'user', content: [{ type: 'document', source }] }] };
    expect(computeMaximumCost(file, { bytes: 5_000_000, models, count: 3_000 }).terms.promptTokens).toBe(3_064);
  });

  test('counts at least a sixteenth of a non-streaming response’s characters as tokens', () => {
    const text = 'the water behind the gate runs on to the mill '.repeat(40);
    const told = (output_tokens: number) =>
      createResponseReport(
        { type: 'message', content: [{ type: 'text', text }], usage: { input_tokens: 9, output_tokens } },
        0,
      );
    expect(told(1).usage?.output_tokens).toBeGreaterThanOrEqual(400);
    expect(told(1)).toMatchObject({ raised_output: true });
    expect(told(420)).toMatchObject({ usage: { output_tokens: 420 } });
    expect(told(420).raised_output).toBeUndefined();
  });
});
