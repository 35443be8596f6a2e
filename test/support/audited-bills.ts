/** What an edge books for the answers of an audited API. */
import type { RequestOutcome } from '#edge/claude/outcome.ts';
import { maximumCost } from '#edge/claude/pricing/maximum-cost.ts';
import { parseSettings, type Settings } from '#edge/config/settings.ts';
import type { AccountBinding } from '#edge/kit/plugins/bindings.ts';
import type { StoredGrant } from '#edge/money/admission/book-outcome.ts';
import { grantOf, requestMeterOf } from '#edge/money/admission/request-meter.ts';
import type { Answer } from './audit.ts';

/** Booked less than this, an answer is booked below its bill: beyond the rounding of sums. */
export const WHOLE_BILL = 1 - 1e-9;

/** @returns the least, the median and the 95th percentile */
export function quantiles(values: readonly number[]): { least: number; median: number; high: number } {
  const sorted = values.toSorted((one, other) => one - other);
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN;
  return { least: at(0), median: at(0.5), high: at(0.95) };
}

const nobody = {} as AccountBinding;
/** A deployment that has learned nothing yet. */
export const newEdge = () => parseSettings({});

/** @returns what an answer was granted */
export function grantFor({ body }: Answer, settings: Settings): StoredGrant {
  const { worstCase, terms } = maximumCost(body, { bytes: JSON.stringify(body).length, models: settings.models });
  const hold = worstCase.inputCost + worstCase.outputTokens * worstCase.outputPrice;
  return grantOf(worstCase, terms, { outcome: 'admitted', hold, maxTokens: undefined } as never);
}

/** @returns what an edge books for an answer; nanodollars */
export function booked(
  answer: Answer,
  settings: Settings,
  outcome: Partial<RequestOutcome>,
  account = 'alice',
): number {
  const request = {
    identity: { account },
    accounts: nobody,
    settings,
    requestId: 'req_1',
    model: answer.model.id,
    stub: { settleJson: async () => '{}' } as never,
  };
  const ended = { status: 200, end: 'cut', upstream_request_id: undefined, sent: true, ttft_ms: 0 } as const;
  return requestMeterOf(request, grantFor(answer, settings)).settle({ ...ended, ...outcome } as RequestOutcome)
    .nanodollars;
}
