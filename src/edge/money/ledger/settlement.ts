/** Makes the values of a settlement safe to be stored and summed up. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { TokensTakenFromBuckets } from '../budget/state.ts';
import type { AdmittedRequestFields, Settlement, TokenUsage } from '../contracts/settlement.ts';
import type { SettledRequestFields } from './tables.ts';

const MAX_COST: Nanodollars = 1e15;
export const NO_TOKENS: Readonly<TokenUsage> = {
  input: 0,
  output: 0,
  cacheRead: 0,
  cacheWrite5m: 0,
  cacheWrite1h: 0,
  thinking: 0,
  webSearches: 0,
};

type PartialAdmittedFields = NonNullable<Settlement['admittedFields']>;

/** @returns the beginning of a row. Missing values become `unknown` or null. */
export function fillAdmittedRequestFields(
  members: { [key in keyof PartialAdmittedFields]?: PartialAdmittedFields[key] | undefined },
): AdmittedRequestFields {
  return {
    route: members.route ?? 'unknown',
    model: members.model ?? 'unknown',
    unpriced: members.unpriced ?? false,
    conversation: members.conversation ?? null,
    token: members.token ?? null,
    group: members.group ?? null,
    dimensions: members.dimensions ?? {},
    location: members.location,
  };
}

/** @returns the end of a row. If the cost is not a number, it is the whole hold. */
export function createSettledRequestFields(
  settlement: Settlement,
  hold: Nanodollars,
  now: number,
  late: boolean,
): SettledRequestFields {
  const cost = Math.ceil(clampToSafeAmount(settlement.cost, hold));
  return {
    status: settlement.status === 'held' ? 'complete' : settlement.status,
    stage: settlement.stage ?? null,
    cost,
    tokens: fillMissingTokenCounts(settlement.tokens),
    saved: Math.round(clampToSafeAmount(Math.abs(settlement.saved ?? 0), 0)) * Math.sign(settlement.saved ?? 0),
    estimated: settlement.estimated === true || !Number.isFinite(settlement.cost),
    overHold: cost > hold,
    late,
    answeredBy: settlement.answeredBy ?? null,
    stopReason: settlement.stopReason ?? null,
    errorType: settlement.errorType ?? null,
    errorMessage: settlement.errorMessage ?? null,
    upstreamRequestId: settlement.upstreamRequestId ?? null,
    upstream: settlement.upstream ?? null,
    failedUpstreams: settlement.failedUpstreams ? JSON.stringify(settlement.failedUpstreams) : null,
    ttftMs: roundDurationMs(settlement.ttftMs),
    waitedMs: roundToSafeMs(settlement.waitedMs),
    ms: roundDurationMs(settlement.ms),
    firstEventMs: roundToSafeMs(settlement.firstEventMs),
    afterFirstMs: roundToSafeMs(settlement.afterFirstMs),
    tools: settlement.tools ? JSON.stringify(settlement.tools) : null,
    at: now,
  };
}

function fillMissingTokenCounts(reported: Partial<TokenUsage> = {}): TokenUsage {
  const tokens = { ...NO_TOKENS };
  for (const kind of Object.keys(tokens) as (keyof TokenUsage)[])
    tokens[kind] = Math.round(clampToSafeAmount(reported[kind] ?? 0, 0));
  return tokens;
}

/** @returns the tokens to take out of the buckets. Cache reads are not included. */
export function computeTokensForBuckets({ tokens }: SettledRequestFields): TokensTakenFromBuckets {
  const inputTokens = tokens.input + tokens.cacheWrite5m + tokens.cacheWrite1h;
  return { inputTokens, outputTokens: tokens.output };
}

/** @returns an amount with which sums stay exact: not negative, and not more than any request can cost. */
export function clampToSafeAmount(value: number, otherwise: number): number {
  return Number.isFinite(value) ? Math.min(Math.max(0, value), MAX_COST) : otherwise;
}

/** @returns a time as whole milliseconds, with which sums stay exact; null if there is none */
function roundToSafeMs(value: number | undefined): number | null {
  const ms = roundDurationMs(value);
  return ms === null ? null : Math.round(clampToSafeAmount(ms, 0));
}

function roundDurationMs(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null;
}
