/** Checks whether an account would reject any request of a kind, before the request itself is known. */

import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import type { LimitRejection, RequestCostKind } from '../contracts/admission.ts';
import { admitCountRequest, admitFreeRequest, decideHold } from './budget.ts';
import type { BudgetWindow } from './budget-windows.ts';
import type { LimitRules } from './rules.ts';
import type { Budget } from './state.ts';

/** The cheapest request possible: an account that cannot pay this one cannot pay any. */
const CHEAPEST_REQUEST: MaximumCost = {
  inputTokens: 0,
  inputCost: 0,
  outputTokens: 1,
  outputPrice: 1,
  leastOutput: 1,
  bounded: true,
  countable: false,
  isPriced: true,
  models: [],
};

/** @returns why no request of a kind would be admitted now; undefined if one may be. Takes nothing from the budget. */
export function findRejectionOfAllRequests(
  costKind: RequestCostKind,
  budget: Budget,
  rules: LimitRules,
  now: number,
  budgetWindows?: readonly BudgetWindow[],
): LimitRejection | undefined {
  if (costKind === 'nothing') return undefined;
  // Decide with a copy of the budget: an admission takes from a bucket, and this check must not change the account's budget.
  const decision =
    costKind === 'price'
      ? decideHold(budget, rules, CHEAPEST_REQUEST, now, { budgetWindows })
      : (costKind === 'count' ? admitCountRequest : admitFreeRequest)({ ...budget }, rules, now);
  // Ignore a rejection caused by other requests' holds: they may be released while the body is read, and the request is decided
  // again after that.
  return decision.kind === 'refused' && decision.reason !== 'held' ? decision : undefined;
}
