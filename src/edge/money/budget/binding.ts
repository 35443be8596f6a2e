/** Tells which limits in USD bind an account: how much of each is used, and which of them refuse. */

import { toUsd } from '../../claude/pricing/cost.ts';
import { isoTimeOrNull } from '../../kit/http/times.ts';
import type { BindingLimit, UsedLimit } from '../account/usage-answers.schema.ts';
import type { LiveToken } from '../contracts/admission.ts';
import type { Limits } from './limits.schema.ts';
import { isShared, limitIn, usedShare } from './purses.ts';
import { EMPTY_SHARE } from './refusals.ts';
import { type Rules, refuseAll } from './rules.ts';
import type { Budget } from './state.ts';
import { CALENDAR, limitName, NEVER, PERIODS } from './windows.ts';

/** @returns limits, the tightest first: those that refuse, then by how much is used, then the lowest */
export function tightestFirst(limits: readonly UsedLimit[]): BindingLimit[] {
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
    const limit = limitIn(budget, rules, period);
    if (limit === undefined) return [];
    const { settled, end } = budget.windows[period];
    const figures = { limit_usd: toUsd(limit), used_usd: toUsd(settled) };
    const resets_at = isoTimeOrNull(end >= NEVER ? null : end);
    const prepaid = period === 'total' && isPrepaid(rules) ? { prepaid: true as const } : {};
    return [{ by: 'account', id: null, limit: limitName(period), ...figures, ...prepaid, resets_at }];
  });
  return tightestFirst([...own, ...(token ? [limitOfToken(token)] : [])]);
}

export function limitOfToken({ jti, limit_usd, used_usd }: LiveToken): UsedLimit {
  return { by: 'token', id: jti, limit: 'usd_total', limit_usd, used_usd, resets_at: null };
}

/** @returns whether an account has no limit in all but its credit */
export function isPrepaid({ spend }: Rules): boolean {
  return spend.total === 0;
}

/** @returns whether a limit of 0 refuses every request. One of 0 in all is prepaid: credit adds to it */
export function isBlocked(limits: Limits, rules: Rules): boolean {
  return refuseAll(rules) || CALENDAR.some((period) => limits[limitName(period) as `usd_per_${typeof period}`] === 0);
}
