/** Makes the refusals of requests that do not fit into a budget. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { DAY_MS, HOUR_MS } from '../../kit/async/durations.ts';
import type { Refusal } from '../contracts/admission.ts';
import { capacity, computeWaitMs, level } from './bucket.ts';
import { amountLeft, type BudgetWindow, type HeldByBatches, isShared } from './budget-windows.ts';
import { BATCH_STAGE, type Budget } from './state.ts';
import { limitName, NEVER, PERIODS } from './windows.ts';

/** Milliseconds after which it is worth asking again for money that other requests hold. */
export const HELD_RETRY_MS = 2_000;
/** A shared budget counts as empty if no more than this share is left. */
export const EMPTY_SHARE = 0.01;
/** The API ends a batch after a day. */
const MAX_BATCH_MS = DAY_MS;

/** @returns what an account's batches hold; undefined if it has none. */
export function heldByBatchesOf(
  { batchHoldCount: batched, holds }: Budget,
  group: string | undefined,
): HeldByBatches | undefined {
  if (batched === 0) return undefined;
  const all = [...holds.values()].filter((hold) => hold.stage === BATCH_STAGE && (group ?? hold.group) === hold.group);
  const nanodollars = all.reduce((sum, hold) => sum + hold.nanodollars, 0);
  return { nanodollars, until: Math.max(0, ...all.map(({ at }) => at)) + MAX_BATCH_MS };
}

/**
 * @param budget the account's own, at the time `now`
 * @returns the refusal by the purse that stays too tight for the longest time; undefined if enough is left in all purses
 */
export function checkBudgetWindows(
  purses: readonly BudgetWindow[],
  needed: Nanodollars,
  now: number,
  budget: Budget,
): Refusal | undefined {
  const short = purses.filter((purse) => amountLeft(purse) < needed);
  const never = short.filter(({ limit: most }) => most < needed);
  const spent = short.filter(({ limit: most, settled }) => most - settled < needed);
  // Most of what other requests hold comes back when they are answered.
  const [first, ...others] = [never, spent, short].find((some) => some.length > 0) ?? [];
  if (first === undefined) return undefined;
  if (spent.length === 0) {
    const enoughAt = (purse: BudgetWindow) => computeRetryTime(purse, needed, now, budget);
    const last = others.reduce((latest, purse) => (enoughAt(purse) > enoughAt(latest) ? purse : latest), first);
    const resetsAt = enoughAt(last);
    const refusal = refusalBy('held', last.name, now, resetsAt, needed, reportedLeft(last), false);
    return { ...refusal, by: last.by, ...(resetsAt > now + HELD_RETRY_MS ? { byBatch: true } : {}) };
  }
  const longest = others.reduce((latest, purse) => (purse.end > latest.end ? purse : latest), first);
  return spendRefusal(longest, needed, now);
}

/**
 * @returns when so much is left in a purse again, if nothing else is set aside meanwhile: in a moment, when running requests
 * end, or at the latest end of a batch, or of the window; milliseconds since 1970
 */
function computeRetryTime(
  { by, name, limit: most, settled, end, batched: others }: BudgetWindow,
  needed: Nanodollars,
  now: number,
  budget: Budget,
): number {
  const soon = now + HELD_RETRY_MS;
  if (others && most - settled - others.nanodollars < needed) return Math.max(soon, Math.min(others.until, end));
  const period = PERIODS.find((one) => limitName(one) === name);
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
 * @returns the refusal by one purse. If it never resets, asking again in an hour may help: somebody may have added credit.
 */
function spendRefusal(purse: BudgetWindow, needed: Nanodollars, now: number): Refusal {
  const { name, by, end, limit: most } = purse;
  const left = reportedLeft(purse);
  const resetsAt = end >= NEVER ? now + HOUR_MS : end;
  return { ...refusalBy('spend', name, now, resetsAt, needed, left, needed > most), by };
}

/** @returns the refusal by a shared budget in which next to nothing is left, for whatever request; undefined if there is none */
export function refusalOfEmpty(purses: readonly BudgetWindow[], now: number): Refusal | undefined {
  const [longest] = purses.filter(isEmpty).sort((one, other) => other.end - one.end);
  return longest && spendRefusal(longest, 0, now);
}

function isEmpty({ limit: most, settled }: BudgetWindow): boolean {
  return most - settled <= most * EMPTY_SHARE;
}

/**
 * @returns the amount that the refusal reports as left; 0 for shared budgets, because it would tell what others have spent.
 */
function reportedLeft(purse: BudgetWindow): Nanodollars {
  return isShared(purse.by) ? 0 : Math.max(0, amountLeft(purse));
}

export function rateRefusal(
  name: string,
  fullAt: number,
  limit: number,
  now: number,
  units: number,
  held: number,
): Refusal {
  const left = Math.max(0, level(fullAt, limit, now) - held);
  const wait = computeWaitMs(fullAt, limit, now, units + held);
  return refusalBy('rate', name, now, now + Math.max(wait, 1), units, left, units > capacity(limit));
}

/** @returns a refusal by the account; times in milliseconds since 1970. */
export function refusalBy(
  reason: Refusal['reason'],
  limit: string,
  now: number,
  resetsAt: number,
  needed: number,
  left: number,
  never: boolean,
): Refusal {
  const retryAfter = Math.max(1, Math.ceil((resetsAt - now) / 1_000));
  return { kind: 'refused', reason, by: 'account', limit, retryAfter, resetsAt, needed, left, never };
}
