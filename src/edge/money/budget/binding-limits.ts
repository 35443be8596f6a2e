/** Tells which limits in USD bind an account: how much of each is used, and which of them refuse. */

import { type Nanodollars, toUsd } from '../../claude/pricing/cost.ts';
import { toIsoTimeOrNull } from '../../kit/http/times.ts';
import type { BindingLimit, UsedLimit } from '../account/usage-answers.schema.ts';
import type { LiveToken } from '../contracts/admission.ts';
import { isShared, limitOfPeriod, usedShare } from './budget-windows.ts';
import { BLOCKING_LIMITS, type BlockingLimit, type Limits } from './limits.schema.ts';
import { EMPTY_SHARE } from './refusals.ts';
import type { Rules } from './rules.ts';
import type { Budget } from './state.ts';
import { limitName, NEVER, PERIODS } from './windows.ts';

/** @returns limits, the tightest first: those that refuse, then by how much is used, then the lowest */
export function sortByTightness(limits: readonly UsedLimit[]): BindingLimit[] {
  return limits
    .map((limit) => ({ ...limit, refuses: usedShare(limit) >= (isShared(limit.by) ? 1 - EMPTY_SHARE : 1) }))
    .sort(
      (one, other) =>
        Number(other.refuses) - Number(one.refuses) ||
        usedShare(other) - usedShare(one) ||
        one.limit_usd - other.limit_usd,
    );
}

/** @returns the limits in USD of an account itself, and of the token that has used up most of its own; the tightest first */
export function ownLimits(budget: Budget, rules: Rules, token: LiveToken | undefined): BindingLimit[] {
  const own = PERIODS.flatMap((period): UsedLimit[] => {
    const limit = limitOfPeriod(budget, rules, period);
    if (limit === undefined) return [];
    const { settled, end } = budget.windows[period];
    const figures = { limit_usd: toUsd(limit), used_usd: toUsd(settled) };
    const resets_at = toIsoTimeOrNull(end >= NEVER ? null : end);
    const prepaid = period === 'total' && isPrepaid(rules) ? { prepaid: true as const } : {};
    return [{ by: 'account', id: null, limit: limitName(period), ...figures, ...prepaid, resets_at }];
  });
  return sortByTightness([...own, ...(token ? [limitOfToken(token)] : [])]);
}

export function limitOfToken({ jti, limit_usd, used_usd }: LiveToken): UsedLimit {
  return { by: 'token', id: jti, limit: 'usd_total', limit_usd, used_usd, resets_at: null };
}

/** @returns whether an account has no limit in all but its credit */
export function isPrepaid({ spend }: Rules): boolean {
  return spend.total === 0;
}

/**
 * @param credit what an account has been given, in nanodollars
 * @returns the limit that rejects every request: it is 0, or has no models; undefined if there is none
 */
export function blockingLimit(limits: Limits, credit: Nanodollars): BlockingLimit | undefined {
  return BLOCKING_LIMITS.find((name) => {
    if (name === 'usd_total' && credit > 0) return false;
    const { [name]: limit } = limits;
    return limit === 0 || (typeof limit === 'object' && limit.length === 0);
  });
}
