import { expect, test } from 'vitest';
import { ModelTable } from '../../../../src/edge/claude/models/models.ts';
import type { RequestOutcome } from '../../../../src/edge/claude/outcome.ts';
import { worstCaseOf } from '../../../../src/edge/claude/pricing/worst-case.ts';
import { nothingSeen, reportOf } from '../../../../src/edge/claude/usage/usage-report.ts';
import { type Booked, settlementOf } from '../../../../src/edge/money/admission/book-outcome.ts';
import { grantOf } from '../../../../src/edge/money/admission/request-meter.ts';

const models = new ModelTable();
const MODEL = 'claude-opus-5-5';
const MINUTE = 60_000;
/** A quarter of a second of the model's output, and what a minute of it may cost; nanodollars. */
const [IN_FLIGHT, BY_CLOCK] = [125 * 20_000, 30_000 * 20_000];
const learned = { handOversPerSecond: 1 / 60, longestResult: () => 0 };

/** @returns what is booked beside its prompt for a request that ran for a minute without an event; nanodollars */
function bookedFor(outcome: Partial<RequestOutcome>, more: { body?: object; place?: Partial<Booked> } = {}): number {
  const body = {
    model: MODEL,
    max_tokens: 64_000,
    stream: true,
    messages: [{ role: 'user', content: 'Hi' }],
    ...more.body,
  };
  const { worstCase, terms } = worstCaseOf(body, { bytes: 100, models });
  const grant = grantOf(worstCase, terms, { hold: 1e12 });
  const place = { requestId: 'req_1', model: MODEL, models, isClaudeApi: true, learned, ...more.place };
  const ended = { status: undefined, end: 'cut', upstream_request_id: undefined, sent: true, ttft_ms: 0 } as const;
  const { cost } = settlementOf(
    place,
    { ...reportOf(undefined, 0), ...ended, seen: nothingSeen(MINUTE), ...outcome },
    { ...grant, cancelStops: true },
  );
  return cost - terms.promptCost;
}

test('a stream of the Claude API that was stopped or left before its first event counts its prompt and a round trip', () => {
  expect(bookedFor({ stopped: true })).toBe(IN_FLIGHT);
  expect(bookedFor({ end: 'client_gone' })).toBe(IN_FLIGHT);
});

test('before the first event the clock counts where the output may have been held back, or nobody watched', () => {
  const byClock = BY_CLOCK + IN_FLIGHT;
  expect(bookedFor({ stopped: true }, { place: { isClaudeApi: false } })).toBe(byClock);
  expect(bookedFor({ stopped: true }, { body: { stream: false } })).toBe(byClock);
  expect(bookedFor({ stopped: true, unwatched: true })).toBe(byClock);
  // The connection may have been dead.
  expect(bookedFor({ end: 'cut' })).toBe(byClock);
  expect(bookedFor({ end: 'silent' })).toBe(byClock);
});
