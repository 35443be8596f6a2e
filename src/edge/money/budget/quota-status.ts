/** Reports how much of each limit is used: as values for response headers, and as JSON for answers. */

import { toUsd } from '../../claude/pricing/cost.ts';
import type { QuotaReport } from '../account/usage-answers.schema.ts';
import type { LiveToken, QuotaStatus, RateStatus } from '../contracts/admission.ts';
import { blockingLimit, ownLimits } from './binding-limits.ts';
import { level } from './bucket.ts';
import { limitOfPeriod } from './budget-windows.ts';
import type { Limits } from './limits.schema.ts';
import type { Rules } from './rules.ts';
import { advance, type Buckets, type Budget } from './state.ts';
import { byPeriod, CALENDAR_PERIODS, NEVER, PERIODS, type Period, spanId } from './windows.ts';

/** @returns the status of every limit that is set. Holds count as used. */
export function quotaStatusOf(budget: Budget, rules: Rules, now: number): QuotaStatus {
  advance(budget, now);
  const quotaStatus: QuotaStatus = {};
  const { requests, input, output, counts } = rules;
  if (requests !== undefined) quotaStatus.requests = rateStatusOf(budget, 'requests', requests, 0);
  if (input !== undefined) quotaStatus.inputTokens = rateStatusOf(budget, 'input', input, budget.heldInput);
  if (output !== undefined) quotaStatus.outputTokens = rateStatusOf(budget, 'output', output, budget.heldOutput);
  if (counts !== undefined) quotaStatus.countRequests = rateStatusOf(budget, 'counts', counts, 0);
  for (const period of PERIODS) {
    const limit = limitOfPeriod(budget, rules, period);
    const { settled, held, end: resetsAt } = budget.windows[period];
    if (limit !== undefined) quotaStatus[period] = { limit, settled, held, resetsAt };
  }
  return quotaStatus;
}

/** @returns the status of every window and bucket, limited or not, as JSON. */
export function reportQuotaStatus(
  budget: Budget,
  rules: Rules,
  limits: { effective: Limits; own: Limits | null; token: LiveToken | undefined },
  now: number,
): Omit<QuotaReport, 'conversations' | 'stored_bytes' | 'token' | 'group'> {
  const quotaStatus = quotaStatusOf(budget, rules, now);
  const sums = (period: Period) => {
    const { settled, held } = budget.windows[period];
    const limit = limitOfPeriod(budget, rules, period);
    return { limit_usd: limit === undefined ? null : toUsd(limit), settled_usd: toUsd(settled), held_usd: toUsd(held) };
  };
  const spend = (period: Exclude<Period, 'total'>): QuotaReport['day'] => {
    const { start, end } = budget.windows[period];
    return { window: spanId(period, start), ...sums(period), resets_at: new Date(end).toISOString() };
  };
  return {
    limits: limits.effective,
    own_limits: limits.own,
    blocked_by: blockingLimit(limits.effective, budget.credit) ?? null,
    binds: ownLimits(budget, rules, limits.token),
    ...byPeriod(CALENDAR_PERIODS, spend),
    total: { ...sums('total'), credit_usd: toUsd(budget.credit) },
    requests: reportRate(quotaStatus.requests),
    input_tokens: reportRate(quotaStatus.inputTokens),
    output_tokens: reportRate(quotaStatus.outputTokens),
    count_requests: reportRate(quotaStatus.countRequests),
    running_requests: budget.holds.size - budget.batchHoldCount,
  };
}

function rateStatusOf(budget: Budget, bucket: keyof Buckets, limit: number, held: number): RateStatus {
  const fullAt = budget.fullAt[bucket];
  const remaining = Math.max(0, level(fullAt, limit, budget.last) - held);
  return { limit, remaining, resetsAt: Math.max(fullAt, budget.last) };
}

function reportRate(value: RateStatus | undefined): QuotaReport['requests'] {
  if (!value) return null;
  const { limit, remaining, resetsAt } = value;
  // With a tiny limit, paying back a large debt takes longer than a date can express.
  return { limit, remaining, resets_at: new Date(Math.min(resetsAt, NEVER)).toISOString() };
}
