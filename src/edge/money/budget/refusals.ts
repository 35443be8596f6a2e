/** Makes the rejections of requests that do not fit into a budget. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { DAY_MS, HOUR_MS } from '../../kit/async/durations.ts';
import type { LimitRejection } from '../contracts/admission.ts';
import { computeBucketCapacity, computeRefillWaitMs, computeUnitsInBucket } from './bucket.ts';
import { type BatchHoldsTotal, type BudgetWindow, computeAmountLeft, isSharedBudget } from './budget-windows.ts';
import { BATCH_STAGE, type Budget } from './state.ts';
import { getUsdLimitName, NEVER, PERIODS } from './windows.ts';

/** Milliseconds after which it is worth asking again for money that other requests hold. */
export const HELD_RETRY_MS = 2_000;
/** A shared budget counts as empty if no more than this share is left. */
export const EMPTY_SHARE = 0.01;
/** The API ends a batch after a day. */
const MAX_BATCH_MS = DAY_MS;

/** @returns what an account's batches hold; undefined if it has none. */
export function sumAccountBatchHolds(
  { batchHoldCount: batched, holds }: Budget,
  group: string | undefined,
): BatchHoldsTotal | undefined {
  if (batched === 0) return undefined;
  const all = [...holds.values()].filter((hold) => hold.stage === BATCH_STAGE && (group ?? hold.group) === hold.group);
  const nanodollars = all.reduce((sum, hold) => sum + hold.nanodollars, 0);
  return { nanodollars, until: Math.max(0, ...all.map(({ at }) => at)) + MAX_BATCH_MS };
}

/**
 * @param budget the account's own, at the time `now`
 * @returns the rejection by the budget window that stays too tight for the longest time; undefined if enough is left in all of them
 */
export function findBudgetRejection(
  windows: readonly BudgetWindow[],
  needed: Nanodollars,
  now: number,
  budget: Budget,
): LimitRejection | undefined {
  const short = windows.filter((window) => computeAmountLeft(window) < needed);
  const never = short.filter(({ limit: most }) => most < needed);
  const spent = short.filter(({ limit: most, settled }) => most - settled < needed);
  // Report the shortage that lasts longest: first a limit below the cost, then spent budget, and last other requests' holds,
  // which are mostly released when these requests end.
  const [first, ...others] = [never, spent, short].find((some) => some.length > 0) ?? [];
  if (first === undefined) return undefined;
  if (spent.length === 0) {
    const computeRetryTimeOfWindow = (window: BudgetWindow) => computeTimeOfEnoughBudget(window, needed, now, budget);
    const last = others.reduce(
      (latest, window) => (computeRetryTimeOfWindow(window) > computeRetryTimeOfWindow(latest) ? window : latest),
      first,
    );
    const resetsAt = computeRetryTimeOfWindow(last);
    const refusal = createLimitRejection(
      'held',
      last.name,
      now,
      resetsAt,
      needed,
      getReportableAmountLeft(last),
      false,
    );
    return { ...refusal, by: last.by, ...(resetsAt > now + HELD_RETRY_MS ? { byBatch: true } : {}) };
  }
  const longest = others.reduce((latest, window) => (window.end > latest.end ? window : latest), first);
  return createSpendRejection(longest, needed, now);
}

/**
 * @returns when so much is left in a budget window again, if nothing else is set aside meanwhile: in a moment, when running requests
 * end, or at the latest end of a batch, or of the window; milliseconds since 1970
 */
function computeTimeOfEnoughBudget(
  { by, name, limit: most, settled, end, batched: others }: BudgetWindow,
  needed: Nanodollars,
  now: number,
  budget: Budget,
): number {
  const soon = now + HELD_RETRY_MS;
  if (others && most - settled - others.nanodollars < needed) return Math.max(soon, Math.min(others.until, end));
  const period = PERIODS.find((one) => getUsdLimitName(one) === name);
  if (by !== 'account' || budget.batchHoldCount === 0 || period === undefined) return soon;
  const { start } = budget.windows[period];
  const batched = [...budget.holds.values()].filter(({ stage, at }) => stage === BATCH_STAGE && at >= start);
  let left = batched.reduce((rest, { nanodollars }) => rest - nanodollars, most - settled);
  let enoughAt = soon;
  for (const { at, nanodollars } of batched.sort((one, other) => one.at - other.at)) {
    if (left >= needed) break;
    left += nanodollars;
    enoughAt = at + MAX_BATCH_MS;
  }
  return Math.max(soon, Math.min(enoughAt, end));
}

/**
 * @returns the rejection by one budget window. If it never resets, asking again in an hour may help: somebody may have added credit.
 */
function createSpendRejection(window: BudgetWindow, needed: Nanodollars, now: number): LimitRejection {
  const { name, by, end, limit: most } = window;
  const left = getReportableAmountLeft(window);
  const resetsAt = end >= NEVER ? now + HOUR_MS : end;
  return { ...createLimitRejection('spend', name, now, resetsAt, needed, left, needed > most), by };
}

/** @returns the rejection by a shared budget that is nearly used up, for any request; undefined if there is none */
export function findEmptySharedBudgetRejection(
  windows: readonly BudgetWindow[],
  now: number,
): LimitRejection | undefined {
  const [longest] = windows.filter(isNearlySpent).sort((one, other) => other.end - one.end);
  return longest && createSpendRejection(longest, 0, now);
}

/** @returns whether so little is left of a shared budget that it rejects all requests */
export function isNearlySpent({ limit: most, settled }: Pick<BudgetWindow, 'limit' | 'settled'>): boolean {
  return most - settled <= most * EMPTY_SHARE;
}

/**
 * @returns the amount that the rejection reports as left; 0 for shared budgets, because it would reveal what others have spent.
 */
function getReportableAmountLeft(window: BudgetWindow): Nanodollars {
  return isSharedBudget(window.by) ? 0 : Math.max(0, computeAmountLeft(window));
}

export function createRateRejection(
  name: string,
  fullAt: number,
  limit: number,
  now: number,
  units: number,
  held: number,
): LimitRejection {
  const left = Math.max(0, computeUnitsInBucket(fullAt, limit, now) - held);
  const wait = computeRefillWaitMs(fullAt, limit, now, units + held);
  return createLimitRejection(
    'rate',
    name,
    now,
    now + Math.max(wait, 1),
    units,
    left,
    units > computeBucketCapacity(limit),
  );
}

/** @returns a rejection by the account; times in milliseconds since 1970. */
export function createLimitRejection(
  reason: LimitRejection['reason'],
  limit: string,
  now: number,
  resetsAt: number,
  needed: number,
  left: number,
  never: boolean,
): LimitRejection {
  const retryAfter = Math.max(1, Math.ceil((resetsAt - now) / 1_000));
  return { kind: 'refused', reason, by: 'account', limit, retryAfter, resetsAt, needed, left, never };
}
