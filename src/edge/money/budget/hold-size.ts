/**
 * How many output tokens a request holds, and whether it waits.
 *
 * Three numbers decide, all in output tokens:
 *
 * | number       | is                                                             | if less is free                           |
 * | ------------ | -------------------------------------------------------------- | ----------------------------------------- |
 * | `minimum`    | the shortest useful response                                   | the request waits, or is rejected         |
 * | `preferred`  | the usual length of responses, as far as the money is unspent; | the request waits while other requests    |
 * |              | for a request that cannot wait: `minimum`                      | hold the money                            |
 * | `affordable` | what half of the free money pays for, so that the next request | the request holds more than half          |
 * |              | fits as well                                                   |                                           |
 *
 * A request holds the larger of `preferred` and `affordable`, but no more than its `max_tokens`.
 *
 * An example: the limit is $1.00, of which $0.30 is settled and $0.50 held by other requests. Hence $0.20 is free, and $0.70 is
 * unspent: that much is free once the other requests end without any cost. The prompt costs $0.01, and 1,000 output tokens cost
 * $0.01. `max_tokens` is 32,000, the shortest useful response has 1,024 tokens, and responses usually have 6,000.
 *
 * - `minimum` is 1,024, and `preferred` is 6,000: with the prompt they cost $0.07, and $0.20 is free. `affordable` is 9,000,
 *   because half of the free money is $0.10. The request holds 9,000 tokens ($0.10).
 * - If the other requests held $0.65, only $0.05 would be free. `preferred` would not fit, although $0.70 is unspent: the request
 *   waits in the queue for $0.07. A request that cannot wait holds `affordable`, which is then 1,500 tokens ($0.025).
 * - If $0.95 were settled and nothing held, waiting could not help. $0.05 pays for 4,000 tokens, so `preferred` is 4,000, and
 *   the request holds these.
 *
 * Requests behind a queued request may overtake it with small holds: of at most a sixteenth of the free money, and never of what
 * the queued request needs (`money/account/admission-queue.ts`).
 */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { TEXT_TOKENS } from '../../claude/pricing/minimal-thinking.ts';
import type { LimitRejection } from '../contracts/admission.ts';
import { type BudgetWindow, computeMinAmountLeft, isSharedBudget } from './budget-windows.ts';
import { computeAffordableOutputTokens } from './cost-range.ts';
import type { HoldRequest } from './hold-request.ts';
import { findBudgetRejection } from './refusals.ts';
import { CEILING, type LimitRules } from './rules.ts';

/** The numbers that decide how many output tokens a request holds, and the money behind them. */
export interface HoldSize {
  /** The tokens of the shortest useful response. */
  minimum: number;
  /** The tokens that the request should hold, even if these cost more than its share of the free money. */
  preferred: number;
  /** The tokens for which its share pays; negative if the share does not even pay for the input. */
  affordable: number;
  /** The free amount for the request, in nanodollars. */
  free: Nanodollars;
  /** Its share of that. */
  share: Nanodollars;
}

/** @returns the numbers; or the rejection of a request that can wait, because other requests hold the money for `preferred` */
export function computeHoldSize(request: HoldRequest): HoldSize | LimitRejection {
  const { rules, maximumCost, budgetWindows, requestWindows, minTokens, maxOvertakingHold } = request;
  const free = Math.min(computeMinAmountLeft([...budgetWindows, ...requestWindows]), maxOvertakingHold ?? CEILING);
  const share = computeShare(rules, budgetWindows, requestWindows, free);
  const affordable = computeAffordableOutputTokens(share, maximumCost);
  const preferred = computePreferredTokens(request, affordable, free);
  return typeof preferred === 'number' ? { minimum: minTokens, preferred, affordable, free, share } : preferred;
}

/** @returns the share of the free money that a request may hold: all of its own limit, but only a part of what others need, too */
export function computeShare(
  rules: LimitRules,
  budgetWindows: readonly BudgetWindow[],
  requestWindows: readonly BudgetWindow[],
  free: Nanodollars,
): Nanodollars {
  const part = Math.floor(computeMinAmountLeft(budgetWindows) / getShareDivisor(rules));
  return Math.min(part, computeMinAmountLeft(requestWindows), free);
}

/** @returns into how many parts the free money is divided. Where `max_tokens` may not be lowered, a request may hold all of it */
export function getShareDivisor({ canLowerMaxTokens }: LimitRules): number {
  return canLowerMaxTokens ? 2 : 1;
}

/** @returns what is not spent: free, or held by other requests. Negative if more is spent than the limit */
export function computeUnspentAmount(windows: readonly BudgetWindow[]): Nanodollars {
  return Math.min(...windows.map(({ limit, settled }) => limit - settled));
}

/** @returns `preferred`; or the rejection of a request that can wait, because other requests hold the money for it */
function computePreferredTokens(
  request: HoldRequest,
  affordable: number,
  free: Nanodollars,
): HoldSize['preferred'] | LimitRejection {
  const { minTokens, estimateTypicalTokens } = request;
  if (!estimateTypicalTokens || affordable >= request.maximumCost.outputTokens) return minTokens;
  const worthWaiting = computeTokensWorthWaiting(request, estimateTypicalTokens);
  const rejection = findRejectionOfOutput(request, worthWaiting);
  if (!rejection) return Math.max(worthWaiting, computeTypicalTokensFromFree(request, estimateTypicalTokens, free));
  const isHeldByRequests = rejection.reason === 'held' && !rejection.byBatch;
  return isHeldByRequests ? rejection : minTokens;
}

type TypicalTokensEstimate = NonNullable<HoldRequest['estimateTypicalTokens']>;

/**
 * @returns the usual length of responses, as far as the unspent money pays for it. Waiting helps only for money that other
 *   requests hold, because holds are released. What is already spent does not come back
 */
function computeTokensWorthWaiting(
  { maximumCost, budgetWindows, requestWindows, minTokens }: HoldRequest,
  estimateTypicalTokens: TypicalTokensEstimate,
): number {
  const { outputTokens, usefulOutput: textTokens = TEXT_TOKENS } = maximumCost;
  const unspent = computeUnspentAmount([...budgetWindows, ...requestWindows]);
  const usualTokens = Math.max(textTokens, estimateTypicalTokens(0));
  const payableTokens = Math.min(usualTokens, computeAffordableOutputTokens(unspent, maximumCost));
  return Math.min(outputTokens, Math.max(minTokens, payableTokens));
}

/**
 * @returns tokens that are usually enough, as far as the free money pays for them; 0 in a shared budget, because other accounts
 *   need the rest
 */
function computeTypicalTokensFromFree(
  { maximumCost, budgetWindows }: HoldRequest,
  estimateTypicalTokens: TypicalTokensEstimate,
  free: Nanodollars,
): number {
  const { outputTokens, usefulOutput: textTokens = TEXT_TOKENS } = maximumCost;
  if (budgetWindows.some(({ by }) => isSharedBudget(by))) return 0;
  return Math.min(outputTokens, estimateTypicalTokens(textTokens), computeAffordableOutputTokens(free, maximumCost));
}

/** @returns why the free money does not pay for so many output tokens; undefined if it does */
function findRejectionOfOutput(request: HoldRequest, tokens: number): LimitRejection | undefined {
  const { budget, time, maximumCost, budgetWindows, requestWindows, minTokens, minCost } = request;
  const cost = minCost + (tokens - minTokens) * maximumCost.outputPrice;
  return findBudgetRejection([...budgetWindows, ...requestWindows], cost, time, budget);
}
