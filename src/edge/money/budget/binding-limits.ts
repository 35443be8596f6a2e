/** Lists the limits in USD that bind an account: how much of each is used, and which of them reject requests. */

import { type Nanodollars, toUsd } from '../../claude/pricing/cost.ts';
import { toIsoTimeOrNull } from '../../kit/http/times.ts';
import type { SpendLimitUsage, SpendLimitUsageBeforeRejection } from '../account/usage-answers.schema.ts';
import type { InsufficientLimit, SpendLimitedToken } from '../contracts/admission.ts';
import { computePeriodLimit, computeUsedShare, isSharedBudget } from './budget-windows.ts';
import { BLOCKING_LIMITS, type BlockingLimitName, type Limits } from './limits.schema.ts';
import { EMPTY_SHARE } from './refusals.ts';
import type { LimitRules } from './rules.ts';
import type { Budget } from './state.ts';
import { getUsdLimitName, NEVER, PERIODS } from './windows.ts';

/**
 * @param limits with `refuses` if that is already known
 * @param insufficient the limit that rejected the last request
 * @returns limits, the tightest first: those that reject, then by how much is used, then the lowest
 */
export function sortByTightness(
  limits: readonly (SpendLimitUsageBeforeRejection | SpendLimitUsage)[],
  insufficient?: InsufficientLimit,
): SpendLimitUsage[] {
  return limits
    .map((limit) => {
      const model = isInsufficient(limit, insufficient) ? insufficient?.model : undefined;
      const refuses =
        ('refuses' in limit && limit.refuses) ||
        computeUsedShare(limit) >= (isSharedBudget(limit.by) ? 1 - EMPTY_SHARE : 1) ||
        model !== undefined;
      return { ...limit, refuses, ...(model !== undefined && { insufficient_for: model }) };
    })
    .sort(
      (one, other) =>
        Number(other.refuses) - Number(one.refuses) ||
        computeUsedShare(other) - computeUsedShare(one) ||
        one.limit_usd - other.limit_usd,
    );
}

function isInsufficient(
  { by, id, limit, limit_usd, used_usd }: SpendLimitUsageBeforeRejection,
  insufficient: InsufficientLimit | undefined,
): boolean {
  if (insufficient?.by !== by || insufficient.id !== id || insufficient.limit !== limit) return false;
  // The limit that rejected the last request may have been raised or reset since then. It is binding only if the money is still
  // missing.
  return limit_usd - used_usd < insufficient.needed_usd;
}

/** @returns the limits in USD of an account itself, and of the token that has used up most of its own; the tightest first */
export function listAccountAndTokenLimits(
  budget: Budget,
  rules: LimitRules,
  token: SpendLimitedToken | undefined,
  insufficient: InsufficientLimit | undefined,
): SpendLimitUsage[] {
  const own = PERIODS.flatMap((period): SpendLimitUsageBeforeRejection[] => {
    const limit = computePeriodLimit(budget, rules, period);
    if (limit === undefined) return [];
    const { settled, end } = budget.windows[period];
    const figures = { limit_usd: toUsd(limit), used_usd: toUsd(settled) };
    const resets_at = toIsoTimeOrNull(end >= NEVER ? null : end);
    const prepaid = period === 'total' && isPrepaid(rules) ? { prepaid: true as const } : {};
    return [{ by: 'account', id: null, limit: getUsdLimitName(period), ...figures, ...prepaid, resets_at }];
  });
  return sortByTightness([...own, ...(token ? [toUsedTokenLimit(token)] : [])], insufficient);
}

export function toUsedTokenLimit({ jti, limit_usd, used_usd }: SpendLimitedToken): SpendLimitUsageBeforeRejection {
  return { by: 'token', id: jti, limit: 'usd_total', limit_usd, used_usd, resets_at: null };
}

/** @returns whether an account has no limit in all but its credit */
export function isPrepaid({ spend }: LimitRules): boolean {
  return spend.total === 0;
}

/**
 * @param credit what an account has been given, in nanodollars
 * @returns the limit that rejects every request: it is 0, or has no models; undefined if there is none
 */
export function findBlockingLimit(limits: Limits, credit: Nanodollars): BlockingLimitName | undefined {
  return BLOCKING_LIMITS.find((name) => {
    if (name === 'usd_total' && credit > 0) return false;
    const { [name]: limit } = limits;
    return limit === 0 || (typeof limit === 'object' && limit.length === 0);
  });
}
