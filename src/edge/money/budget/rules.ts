/** Converts limits into the units in which decisions are made. */

import { type Nanodollars, usdToNanodollars } from '../../claude/pricing/cost.ts';
import { type Limits, MAX_USD } from './limits.schema.ts';
import { getUsdLimitName, mapPeriods, PERIODS, type Period } from './windows.ts';

/** The limit that replaces an absent one. It is so high that nothing reaches it, and still an exact integer. */
export const CEILING: Nanodollars = usdToNanodollars(MAX_USD);

/** Limits in the units in which decisions are made. */
export interface LimitRules {
  requests: number | undefined;
  input: number | undefined;
  output: number | undefined;
  counts: number | undefined;
  spend: Record<Period, Nanodollars | undefined>;
  concurrent: number;
  models: readonly string[] | undefined;
  canLowerMaxTokens: boolean;
  /** The least `max_tokens` worth an answer; undefined if the model and the request decide. */
  minOutputTokens: number | undefined;
  /** Whether a step of the API's own tools is held at an estimate instead of its maximum cost. */
  shouldEstimateServerTools: boolean;
}

/** @returns the limits as rules: money in nanodollars, defaults filled in. */
export function toLimitRules(limits: Limits): LimitRules {
  const toNanodollarsOrUndefined = (usd: number | undefined) => (usd === undefined ? undefined : usdToNanodollars(usd));
  return {
    requests: limits.requests_per_minute,
    input: limits.input_tokens_per_minute,
    output: limits.output_tokens_per_minute,
    counts: limits.count_requests_per_minute,
    spend: mapPeriods(PERIODS, (period) => toNanodollarsOrUndefined(limits[getUsdLimitName(period)])),
    concurrent: limits.concurrent_requests ?? Number.POSITIVE_INFINITY,
    models: limits.models,
    canLowerMaxTokens: limits.on_shortfall !== 'refuse',
    minOutputTokens: limits.min_output_tokens,
    shouldEstimateServerTools: limits.served_tools === 'estimate',
  };
}
