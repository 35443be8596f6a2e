/** A request for a hold: its maximum cost, and the limits that must pay for it. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { type BudgetWindow, createBudgetWindows } from './budget-windows.ts';
import { computeMinOutputTokens, selectCostToHold } from './cost-range.ts';
import type { LimitRules } from './rules.ts';
import { advanceBudgetTo, type Budget } from './state.ts';
import { NEVER } from './windows.ts';

/** The options of a decision about a request, beside its maximum cost. */
export interface HoldDecisionOptions {
  /** Whether an earlier attempt of the request was admitted. All attempts count as one in `requests_per_minute`. */
  repeats?: boolean | undefined;
  /** Whether the upstream has counted the input for this decision. */
  counted?: boolean | undefined;
  /** The limits in money of all payers. Default: those of the account. */
  budgetWindows?: readonly BudgetWindow[] | undefined;
  /** The models that the credential may use; absent if it may use those of its account. */
  models?: readonly string[] | undefined;
  /** The maximum cost that the request itself may have. No other request needs any of it, so all of it may be held. */
  costLimit?: Nanodollars | undefined;
  /** What the earlier attempts of the request have cost. It counts only against `costLimit`. */
  earlier?: Nanodollars | undefined;
  /**
   * For a request that can wait: returns the tokens that responses usually take, if `forText` are enough for a text. While other
   * requests hold the money for so many, the request is rejected as held. Default: `max_tokens` is lowered to what is left.
   */
  estimateTypicalTokens?: ((forText: number) => number) | undefined;
  /** The maximum that the request may hold, because it overtakes requests in the queue; absent if it overtakes none. */
  maxOvertakingHold?: Nanodollars | undefined;
}

/** A request to decide about. */
export interface HoldRequest extends Omit<HoldDecisionOptions, 'earlier'> {
  budget: Budget;
  rules: LimitRules;
  /** The time of the decision, to which the budget was moved. */
  time: number;
  /** The cost by which it is held: an estimate if the rules estimate the API's own tools. */
  maximumCost: MaximumCost;
  budgetWindows: readonly BudgetWindow[];
  /** The limit of the request itself, all of which it may hold; empty if it has none. */
  requestWindows: readonly BudgetWindow[];
  /** The output tokens of its shortest useful response. */
  minTokens: number;
  /** The cost of its shortest useful response. Without the input if that can still be counted, because it may turn out to be cheap. */
  minCost: Nanodollars;
}

/**
 * Prepares the decision about a request, and moves the budget to the time `now`.
 *
 * @param unestimatedCost the exact maximum cost. If the rules estimate the API's own tools, it is replaced by the estimate
 */
export function prepareHoldRequest(
  budget: Budget,
  rules: LimitRules,
  unestimatedCost: MaximumCost,
  now: number,
  options: HoldDecisionOptions,
): HoldRequest {
  const time = advanceBudgetTo(budget, now);
  const maximumCost = selectCostToHold(unestimatedCost, rules);
  const { budgetWindows = createBudgetWindows(budget, rules), costLimit } = options;
  const { repeats, counted, models, estimateTypicalTokens, maxOvertakingHold } = options;
  const requestWindows = createRequestWindows(options);
  const minTokens = computeMinOutputTokens(maximumCost, rules);
  const minCost = (maximumCost.countable ? 0 : maximumCost.inputCost) + minTokens * maximumCost.outputPrice;
  // List all members instead of spreading `options`: with a spread, a decision takes four times as long (measured).
  return {
    budget,
    rules,
    time,
    maximumCost,
    budgetWindows,
    requestWindows,
    minTokens,
    minCost,
    costLimit,
    repeats,
    counted,
    models,
    estimateTypicalTokens,
    maxOvertakingHold,
  };
}

/** @returns the limit of the request itself as a window, less what its earlier attempts have cost; empty if it has none */
export function createRequestWindows({ costLimit, earlier = 0 }: HoldDecisionOptions): BudgetWindow[] {
  return costLimit === undefined
    ? []
    : [{ by: 'run', name: 'max_usd', limit: costLimit, settled: earlier, held: 0, end: NEVER }];
}
