/** Says of limits in USD which models' searches they can never pay for, since these are held exactly. */

import { lifecycleOf } from '../../claude/models/models.ts';
import { fromUsd, toUsd } from '../../claude/pricing/cost.ts';
import { computeMaximumCost } from '../../claude/pricing/maximum-cost.ts';
import type { Settings } from '../../config/settings.ts';
import { ESTIMATE_HELPS } from './advice.ts';
import { MIN_TOKENS_TO_TRY } from './answer-lengths.ts';
import { isAllowed } from './budget.ts';
import { costRangeOf } from './cost-range.ts';
import type { Limits, UnpaidSearches } from './limits.schema.ts';
import { rulesOf } from './rules.ts';
import { limitName, PERIODS } from './windows.ts';

/** A question that is searched for once. */
const SEARCH = {
  max_tokens: 4_096,
  messages: [{ role: 'user', content: 'What is new?' }],
  tools: [{ type: 'web_search_20260209', name: 'web_search', max_uses: 1 }],
};

/** @param limits those in force @returns what their answer says of searches; empty where they can pay for one of each model */
export function unpaidSearches(
  limits: Limits,
  { models }: Pick<Settings, 'models'>,
): { unpaid_searches?: UnpaidSearches } {
  const rules = rulesOf(limits);
  const [tightest] = PERIODS.map((period) => ({ limit: limitName(period), usd: limits[limitName(period)] }))
    .filter(({ usd }) => usd !== undefined)
    .sort((one, other) => (one.usd ?? 0) - (other.usd ?? 0));
  // An account whose limit is 0 is to spend nothing.
  if (!tightest?.usd || rules.shouldEstimateServed) return {};
  const { limit, usd } = tightest;
  const unpaid = models.rows.flatMap((row) => {
    const body = { ...SEARCH, model: row.id };
    const { maximumCost: worstCase } = computeMaximumCost(body, { bytes: JSON.stringify(body).length, models });
    const [names = []] = worstCase.models;
    const { usefulOutput = MIN_TOKENS_TO_TRY } = worstCase;
    const tried = { ...worstCase, usefulOutput: Math.min(usefulOutput, MIN_TOKENS_TO_TRY) };
    const { least } = costRangeOf(tried, rules);
    const isUsed = lifecycleOf(row) !== 'retired' && (!rules.models || isAllowed(names, rules.models));
    if (!isUsed || least <= fromUsd(usd)) return [];
    const estimate = costRangeOf(tried, { ...rules, shouldEstimateServed: true }).least;
    return [{ model: row.id, exact_usd: toUsd(least), estimate_usd: toUsd(estimate) }];
  });
  if (unpaid.length === 0) return {};
  const note = `${limit} cannot pay what is set aside for one web search by these models, so it is refused. What helps is ${ESTIMATE_HELPS}.`;
  return { unpaid_searches: { limit, models: unpaid, note } };
}
