/** Finds the models whose searches can never be paid for by limits in USD, because their maximum cost is held. */

import { getModelLifecycle } from '../../claude/models/models.ts';
import { toUsd, usdToNanodollars } from '../../claude/pricing/cost.ts';
import { computeMaximumCost } from '../../claude/pricing/maximum-cost.ts';
import type { Settings } from '../../config/settings.ts';
import { ESTIMATE_HELPS } from './advice.ts';
import { MIN_TOKENS_TO_TRY } from './answer-lengths.ts';
import { isModelAllowed } from './budget.ts';
import { computeCostRange } from './cost-range.ts';
import type { Limits, UnaffordableSearches } from './limits.schema.ts';
import { toLimitRules } from './rules.ts';
import { getUsdLimitName, PERIODS } from './windows.ts';

/** A question that is searched for once. */
const SEARCH = {
  max_tokens: 4_096,
  messages: [{ role: 'user', content: 'What is new?' }],
  tools: [{ type: 'web_search_20260209', name: 'web_search', max_uses: 1 }],
};

/** @param limits those in force @returns the warning about searches; empty if the limits pay for a search with each model */
export function findUnaffordableSearches(
  limits: Limits,
  { models }: Pick<Settings, 'models'>,
): { unpaid_searches?: UnaffordableSearches } {
  const rules = toLimitRules(limits);
  const [tightest] = PERIODS.map((period) => ({ limit: getUsdLimitName(period), usd: limits[getUsdLimitName(period)] }))
    .filter(({ usd }) => usd !== undefined)
    .sort((one, other) => (one.usd ?? 0) - (other.usd ?? 0));
  // A limit of 0 blocks all spending on purpose, so do not warn that it cannot pay for a search.
  if (!tightest?.usd || rules.shouldEstimateServerTools) return {};
  const { limit, usd } = tightest;
  const unpaid = models.rows.flatMap((row) => {
    const body = { ...SEARCH, model: row.id };
    const { maximumCost } = computeMaximumCost(body, { bytes: JSON.stringify(body).length, models });
    const [names = []] = maximumCost.models;
    const { usefulOutput = MIN_TOKENS_TO_TRY } = maximumCost;
    const tried = { ...maximumCost, usefulOutput: Math.min(usefulOutput, MIN_TOKENS_TO_TRY) };
    const { least } = computeCostRange(tried, rules);
    const isUsed = getModelLifecycle(row) !== 'retired' && (!rules.models || isModelAllowed(names, rules.models));
    if (!isUsed || least <= usdToNanodollars(usd)) return [];
    const estimate = computeCostRange(tried, { ...rules, shouldEstimateServerTools: true }).least;
    return [{ model: row.id, exact_usd: toUsd(least), estimate_usd: toUsd(estimate) }];
  });
  if (unpaid.length === 0) return {};
  const note = `${limit} is less than the maximum cost of one web search with these models, so such requests are rejected. To allow them, ${ESTIMATE_HELPS}.`;
  return { unpaid_searches: { limit, models: unpaid, note } };
}
