/** Limits in money, whoever has them: each is a purse that a request needs room in. */

import type { LimitOwner } from '../durable/contracts/admission.ts';
import type { Nanodollars } from '../pricing/cost.ts';
import { CEILING, type Rules } from './rules.ts';
import type { Budget } from './state.ts';
import { limitName, PERIODS, type Period } from './windows.ts';

/** What may be spent of one limit until it resets. */
export interface Purse {
  by: LimitOwner;
  /** The limit, as it is named in the limits of its owner. */
  name: string;
  most: Nanodollars;
  settled: Nanodollars;
  held: Nanodollars;
  /** When what was spent counts no longer, in milliseconds since 1970; `NEVER` where it counts for ever. */
  end: number;
}

/**
 * Makes the purses of an account, at the time that `budget` was moved to: one for each window. A window of the calendar
 * without a limit has the ceiling, so that its sums stay exact.
 */
export function pursesOf(budget: Budget, rules: Rules): Purse[] {
  return PERIODS.flatMap((period) => {
    const most = limitIn(budget, rules, period) ?? (period === 'total' ? undefined : CEILING);
    if (most === undefined) return [];
    const { settled, held, end } = budget.windows[period];
    return [{ by: 'account' as const, name: limitName(period), most, settled, held, end }];
  });
}

/** @returns the limit of a window, with the credit that adds to it; undefined where it has none. */
export function limitIn(budget: Budget, rules: Rules, period: Period): Nanodollars | undefined {
  const limit = rules.spend[period];
  return limit !== undefined && period === 'total' ? Math.min(CEILING, limit + budget.credit) : limit;
}

/** @returns what is free in a purse; negative where it is overdrawn. */
export function leftIn({ most, settled, held }: Purse): Nanodollars {
  return most - settled - held;
}

/** @returns what is free in the tightest of them. */
export function freeIn(purses: readonly Purse[]): Nanodollars {
  return purses.reduce((least, purse) => Math.min(least, leftIn(purse)), CEILING);
}
