/** Limits how often the API's own tools may be used, if the budget does not pay for all uses. */

import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import type { LoweredBy } from '../contracts/lowered-by.schema.ts';
import { computeMinAmountLeft, createBudgetWindows } from './budget-windows.ts';
import { computeAffordableToolUses, computeMinOutputTokens, selectCostToHold } from './cost-range.ts';
import { createRequestWindows, type HoldDecisionOptions } from './hold-request.ts';
import { computeShare, computeUnspentAmount, getShareDivisor } from './hold-size.ts';
import { findTightestLimit } from './lowered-by.ts';
import type { LimitRules } from './rules.ts';
import type { Budget } from './state.ts';

/**
 * Computes the number of uses to which a request is limited that was rejected because too little money is left. As with
 * `max_tokens`, the request gets half of the free money, or the minimum that it needs.
 *
 * @param unestimatedCost the maximum cost with that of the API's own tools, which the rules may replace by an estimate
 * @returns undefined if the budget does not pay for the minimum even without other holds, or if limits are to reject
 */
export function lowerToolUses(
  budget: Budget,
  rules: LimitRules,
  unestimatedCost: MaximumCost,
  minUses: number,
  options: HoldDecisionOptions,
): { uses: number; loweredBy: LoweredBy } | undefined {
  const maximumCost = selectCostToHold(unestimatedCost, rules);
  const { serverTools } = maximumCost;
  if (!serverTools || !rules.canLowerMaxTokens) return undefined;
  const { budgetWindows = createBudgetWindows(budget, rules) } = options;
  const requestWindows = createRequestWindows(options);
  const windows = [...budgetWindows, ...requestWindows];
  const free = computeMinAmountLeft(windows);
  const share = computeShare(rules, budgetWindows, requestWindows, free);
  const minTokens = computeMinOutputTokens(maximumCost, rules);
  const countUses = (money: number) => computeAffordableToolUses(money, maximumCost, rules, minTokens);
  const maxUses = Math.min(serverTools.uses - 1, countUses(free));
  const affordable = Math.min(maxUses, Math.max(minUses, countUses(share)));
  // If too few uses are affordable only because other requests have holds, wait for these with the minimum number of uses
  // instead of rejecting the request.
  const canWait = serverTools.uses > minUses && countUses(computeUnspentAmount(windows)) >= minUses;
  const uses = affordable < minUses && canWait ? minUses : affordable;
  const loweredBy = findTightestLimit(budgetWindows, requestWindows, getShareDivisor(rules));
  return uses >= minUses && loweredBy ? { uses, loweredBy } : undefined;
}
