/** What an edge books for the answers of an audited API. */
import type { RequestOutcome } from '#edge/claude/outcome.ts';
import { computeMaximumCost } from '#edge/claude/pricing/maximum-cost.ts';
import { parseSettings, type Settings } from '#edge/config/settings.ts';
import type { AccountAndPoolBindings } from '#edge/kit/plugins/bindings.ts';
import { createStoredGrant } from '#edge/money/admission/attempt-settlement.ts';
import { BilledRequest } from '#edge/money/admission/billed-request.ts';
import type { StoredGrant } from '#edge/money/admission/price-outcome.ts';
import type { Answer } from './audit.ts';

/** Booked less than this, an answer is booked below its bill: beyond the rounding of sums. */
export const MIN_BOOKED_SHARE = 1 - 1e-9;

/** @returns the least, the median and the 95th percentile */
export function computeQuantiles(values: readonly number[]): { minimum: number; median: number; p95: number } {
  const sorted = values.toSorted((one, other) => one - other);
  const quantileAt = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN;
  return { minimum: quantileAt(0), median: quantileAt(0.5), p95: quantileAt(0.95) };
}

const noLimitsAccount = {} as AccountAndPoolBindings;
/** A deployment that has learned nothing yet. */
export const createNewEdge = () => parseSettings({});

/** @returns what an answer was granted */
export function grantOfAnswer({ body }: Answer, settings: Settings): StoredGrant {
  const { maximumCost: worstCase, terms } = computeMaximumCost(body, {
    bytes: JSON.stringify(body).length,
    models: settings.models,
  });
  const hold = worstCase.inputCost + worstCase.outputTokens * worstCase.outputPrice;
  return createStoredGrant(worstCase, terms, { outcome: 'admitted', hold, maxTokens: undefined } as never);
}

/** @returns what an edge books for an answer; nanodollars */
export function computeBooked(
  answer: Answer,
  settings: Settings,
  outcome: Partial<RequestOutcome>,
  { account = 'alice', grant = grantOfAnswer(answer, settings) }: { account?: string; grant?: StoredGrant } = {},
): number {
  const request = {
    identity: { account },
    accounts: noLimitsAccount,
    settings,
    requestId: 'req_1',
    model: answer.model.id,
    stub: { settleJson: async () => '{}' } as never,
  };
  const ended = { status: 200, end: 'cut', upstream_request_id: undefined, sent: true, ttft_ms: 0 } as const;
  return BilledRequest.restoreAttempt(request, grant).settle({
    ...ended,
    ...outcome,
  } as RequestOutcome).nanodollars;
}
