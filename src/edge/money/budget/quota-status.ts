/** Reports how much of each limit is used: as values for response headers, and as JSON for answers. */

import { toUsd } from '../../claude/pricing/cost.ts';
import type { QuotaReport } from '../account/usage-answers.schema.ts';
import type { InsufficientLimit, QuotaStatus, RateStatus, SpendLimitedToken } from '../contracts/admission.ts';
import { findBlockingLimit, listAccountAndTokenLimits } from './binding-limits.ts';
import { computeUnitsInBucket } from './bucket.ts';
import { computePeriodLimit } from './budget-windows.ts';
import type { Limits } from './limits.schema.ts';
import type { LimitRules } from './rules.ts';
import { advanceBudgetTo, type BucketRefillTimes, type Budget } from './state.ts';
import { CALENDAR_PERIODS, formatCalendarWindowId, mapPeriods, NEVER, PERIODS, type Period } from './windows.ts';

/** @returns the status of every limit that is set. Holds count as used. */
export function computeQuotaStatus(budget: Budget, rules: LimitRules, now: number): QuotaStatus {
  advanceBudgetTo(budget, now);
  const quotaStatus: QuotaStatus = {};
  const { requests, input, output, counts } = rules;
  if (requests !== undefined) quotaStatus.requests = computeRateStatus(budget, 'requests', requests, 0);
  if (input !== undefined) quotaStatus.inputTokens = computeRateStatus(budget, 'input', input, budget.heldInput);
  if (output !== undefined) quotaStatus.outputTokens = computeRateStatus(budget, 'output', output, budget.heldOutput);
  if (counts !== undefined) quotaStatus.countRequests = computeRateStatus(budget, 'counts', counts, 0);
  for (const period of PERIODS) {
    const limit = computePeriodLimit(budget, rules, period);
    const { settled, held, end: resetsAt } = budget.windows[period];
    if (limit !== undefined) quotaStatus[period] = { limit, settled, held, resetsAt };
  }
  return quotaStatus;
}

/** @returns the status of every window and bucket, limited or not, as JSON. */
export function createQuotaReport(
  budget: Budget,
  rules: LimitRules,
  limits: {
    effective: Limits;
    own: Limits | null;
    token: SpendLimitedToken | undefined;
    insufficient: InsufficientLimit | undefined;
  },
  now: number,
): Omit<QuotaReport, 'block' | 'conversations' | 'stored_bytes' | 'token' | 'group'> {
  const quotaStatus = computeQuotaStatus(budget, rules, now);
  const reportPeriodSums = (period: Period) => {
    const { settled, held } = budget.windows[period];
    const limit = computePeriodLimit(budget, rules, period);
    return { limit_usd: limit === undefined ? null : toUsd(limit), settled_usd: toUsd(settled), held_usd: toUsd(held) };
  };
  const reportPeriodSpending = (period: Exclude<Period, 'total'>): QuotaReport['day'] => {
    const { start, end } = budget.windows[period];
    return {
      window: formatCalendarWindowId(period, start),
      ...reportPeriodSums(period),
      resets_at: new Date(end).toISOString(),
    };
  };
  return {
    limits: limits.effective,
    own_limits: limits.own,
    blocked_by: findBlockingLimit(limits.effective, budget.credit) ?? null,
    binds: listAccountAndTokenLimits(budget, rules, limits.token, limits.insufficient),
    ...mapPeriods(CALENDAR_PERIODS, reportPeriodSpending),
    total: { ...reportPeriodSums('total'), credit_usd: toUsd(budget.credit) },
    requests: toRateReport(quotaStatus.requests),
    input_tokens: toRateReport(quotaStatus.inputTokens),
    output_tokens: toRateReport(quotaStatus.outputTokens),
    count_requests: toRateReport(quotaStatus.countRequests),
    running_requests: budget.holds.size - budget.batchHoldCount,
  };
}

function computeRateStatus(budget: Budget, bucket: keyof BucketRefillTimes, limit: number, held: number): RateStatus {
  const fullAt = budget.fullAt[bucket];
  const remaining = Math.max(0, computeUnitsInBucket(fullAt, limit, budget.last) - held);
  return { limit, remaining, resetsAt: Math.max(fullAt, budget.last) };
}

function toRateReport(value: RateStatus | undefined): QuotaReport['requests'] {
  if (!value) return null;
  const { limit, remaining, resetsAt } = value;
  // With a very low limit, the bucket may need longer to refill than a `Date` can express, so cap the time at the largest valid
  // date.
  return { limit, remaining, resets_at: new Date(Math.min(resetsAt, NEVER)).toISOString() };
}
