/** Where an account stands: for response headers, and for people. */

import type { StandingReport } from '../accounts/usage-answers.schema.ts';
import type { Meter, Spend, Standing } from '../durable/contracts/admission.ts';
import { type Nanodollars, toUsd } from '../pricing/cost.ts';
import type { Limits } from '../settings/limits.schema.ts';
import { level } from './bucket.ts';
import type { Rules } from './rules.ts';
import { advance, type Buckets, type Budget } from './state.ts';
import { type Period, spanId } from './windows.ts';

/** @returns the standing in what is limited, holds included. */
export function standingOf(budget: Budget, rules: Rules, now: number): Standing {
  advance(budget, now);
  const standing: Standing = {};
  const { requests, input, output, counts, spend } = rules;
  if (requests !== undefined) standing.requests = meter(budget, 'requests', requests, 0);
  if (input !== undefined) standing.inputTokens = meter(budget, 'input', input, budget.heldInput);
  if (output !== undefined) standing.outputTokens = meter(budget, 'output', output, budget.heldOutput);
  if (counts !== undefined) standing.countRequests = meter(budget, 'counts', counts, 0);
  if (spend.day !== undefined) standing.day = spendOf(budget, 'day', spend.day);
  if (spend.week !== undefined) standing.week = spendOf(budget, 'week', spend.week);
  if (spend.month !== undefined) standing.month = spendOf(budget, 'month', spend.month);
  return standing;
}

/** @returns the standing in every window and bucket as it goes over the wire. */
export function reportStanding(
  budget: Budget,
  rules: Rules,
  limits: { inForce: Limits; own: Limits | null },
  now: number,
): Omit<StandingReport, 'conversations' | 'stored_bytes'> {
  const standing = standingOf(budget, rules, now);
  const spend = (period: Period): StandingReport['day'] => {
    const { start, end, settled, held } = budget.windows[period];
    const limit = rules.spend[period];
    return {
      window: spanId(period, start),
      limit_usd: limit === undefined ? null : toUsd(limit),
      settled_usd: toUsd(settled),
      held_usd: toUsd(held),
      resets_at: new Date(end).toISOString(),
    };
  };
  return {
    limits: limits.inForce,
    own_limits: limits.own,
    day: spend('day'),
    week: spend('week'),
    month: spend('month'),
    requests: reportMeter(standing.requests),
    input_tokens: reportMeter(standing.inputTokens),
    output_tokens: reportMeter(standing.outputTokens),
    count_requests: reportMeter(standing.countRequests),
    running_requests: budget.holds.size,
  };
}

function meter(budget: Budget, bucket: keyof Buckets, limit: number, held: number): Meter {
  const fullAt = budget.fullAt[bucket];
  const remaining = Math.max(0, level(fullAt, limit, budget.last) - held);
  return { limit, remaining, resetsAt: Math.max(fullAt, budget.last) };
}

function spendOf(budget: Budget, period: Period, limit: Nanodollars): Spend {
  const { settled, held, end } = budget.windows[period];
  return { limit, settled, held, resetsAt: end };
}

function reportMeter(value: Meter | undefined): StandingReport['requests'] {
  if (!value) return null;
  const { limit, remaining, resetsAt } = value;
  // A debt at a tiny limit can lie beyond what a date can say.
  return { limit, remaining, resets_at: new Date(Math.min(resetsAt, 8.64e15)).toISOString() };
}
