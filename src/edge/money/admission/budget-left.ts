/**
 * Reports to a caller how much is left of their own budget: of their account's windows and credit, and of their token's limit.
 */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { PERIODS } from '../budget/windows.ts';
import type { QuotaStatus, SpendStatus } from '../contracts/admission.ts';

/**
 * The budget at an admission, with all that is needed to compute what a response leaves of it. Plain JSON, stored with the
 * grant.
 */
export interface BudgetAtAdmission {
  windows: { settled: Nanodollars; limit: Nanodollars }[];
  /** The maximum cost of the response at which the same request fits once more, beside the holds of other requests. */
  maxCostToFitAgain: Nanodollars;
}

/** The budget that remains after a response. Shared budgets are left out, so that callers do not learn what others spend. */
export interface RemainingBudget {
  /** The largest share of a limit that is used, of 1; rounded down. */
  used: number;
  /** Whether the same question, asked once more, could hold the least that it needs. */
  fits: boolean;
}

/** @returns the limits in USD that are the caller's own, with what is used of each */
export function listOwnSpendLimits(quota: QuotaStatus): SpendStatus[] {
  return [...PERIODS, 'token' as const].flatMap((name) => quota[name] ?? []);
}

/** @returns the budget at the admission of a request; undefined if no limit of the caller's own holds */
export function captureBudgetAtAdmission({
  quota,
  hold,
  least,
}: {
  quota: QuotaStatus;
  hold: Nanodollars;
  least?: Nanodollars;
}): BudgetAtAdmission | undefined {
  const own = listOwnSpendLimits(quota);
  if (least === undefined || own.length === 0) return undefined;
  const free = Math.min(...own.map(({ limit, settled, held }) => limit - settled - held));
  return { windows: own.map(({ settled, limit }) => ({ settled, limit })), maxCostToFitAgain: free + hold - least };
}

/** @returns what an answer of this cost leaves; undefined if that is not known */
export function computeRemainingBudget(
  before: BudgetAtAdmission | undefined,
  cost: Nanodollars,
): RemainingBudget | undefined {
  if (!before || !Number.isFinite(cost)) return undefined;
  const used = Math.max(
    ...before.windows.map(({ settled, limit }) => computeUsedShareOfLimit({ settled: settled + cost, limit })),
  );
  return { used, fits: cost <= before.maxCostToFitAgain };
}

/** @returns the used share of a limit. It is 1 only if nothing is left: rounded down to ten thousandths */
export function computeUsedShareOfLimit({ settled, limit }: Pick<SpendStatus, 'settled' | 'limit'>): number {
  return settled >= limit ? 1 : Math.floor((Math.max(0, settled) * 10_000) / limit) / 10_000;
}

/** @returns the headers with the remaining budget */
export function createBudgetHeaders(budget: Partial<RemainingBudget> | undefined): Record<string, string> {
  const { used, fits } = budget ?? {};
  return {
    ...(used === undefined ? {} : { 'sluice-budget-used': String(used) }),
    ...(fits === undefined ? {} : { 'sluice-budget-fits': String(fits) }),
  };
}
