/** Limits in money, from any source, with the settled and the held amount of each. A request needs enough in all of them. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { LimitOwner, SharedBudgetKind } from '../contracts/admission.ts';
import { CEILING, type LimitRules } from './rules.ts';
import type { Budget } from './state.ts';
import { getUsdLimitName, PERIODS, type Period } from './windows.ts';

/** The holds of batches, which last much longer than those of requests. */
export interface BatchHoldsTotal {
  nanodollars: Nanodollars;
  /** When the last of them must have ended; milliseconds since 1970. */
  until: number;
}

/** One limit in money, with what is settled and held of it until it resets. */
export interface BudgetWindow {
  by: LimitOwner;
  /** The name of the limit, as its owner's limits have it. */
  name: string;
  limit: Nanodollars;
  settled: Nanodollars;
  held: Nanodollars;
  /** When it resets, in milliseconds since 1970; `NEVER` if it does not. */
  end: number;
  /** For a shared budget: what batches hold of it. */
  batched?: BatchHoldsTotal | undefined;
}

/** @returns whether several accounts share a budget. */
export function isSharedBudget(owner: LimitOwner | 'upstream' | undefined): owner is SharedBudgetKind {
  return owner === 'group' || owner === 'deployment';
}

/**
 * Creates the budget windows of an account, at the time to which `budget` was moved. A calendar window without a
 * limit gets the ceiling as its limit, so that its sums stay exact.
 */
export function createBudgetWindows(budget: Budget, rules: LimitRules): BudgetWindow[] {
  return PERIODS.flatMap((period) => {
    const most = computePeriodLimit(budget, rules, period) ?? (period === 'total' ? undefined : CEILING);
    if (most === undefined) return [];
    const { settled, held, end } = budget.windows[period];
    return [{ by: 'account' as const, name: getUsdLimitName(period), limit: most, settled, held, end }];
  });
}

/** @returns the limit of a window, including credit; undefined if it has none. */
export function computePeriodLimit(budget: Budget, rules: LimitRules, period: Period): Nanodollars | undefined {
  const limit = rules.spend[period];
  return limit !== undefined && period === 'total' ? Math.min(CEILING, limit + budget.credit) : limit;
}

/** @returns the share of a limit that is used. A limit of 0 or less is used up. */
export function computeUsedShare({ limit_usd, used_usd }: { limit_usd: number; used_usd: number }): number {
  // A total limit is below 0 if an operator took back more credit than was added. Dividing by it would give a negative share.
  return limit_usd <= 0 ? 1 : used_usd / limit_usd;
}

/** @returns what is left in a budget window; negative if it is overdrawn. */
export function computeAmountLeft({ limit: most, settled, held }: BudgetWindow): Nanodollars {
  return most - settled - held;
}

/** @returns what is left in the tightest budget window. */
export function computeMinAmountLeft(windows: readonly BudgetWindow[]): Nanodollars {
  return windows.reduce((least, window) => Math.min(least, computeAmountLeft(window)), CEILING);
}
