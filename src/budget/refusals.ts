/** Makes the refusals of requests that do not fit into a budget. */

import { HOUR_MS } from '../async/durations.ts';
import type { Refusal } from '../durable/contracts/admission.ts';
import type { Nanodollars } from '../pricing/cost.ts';
import { capacity, level, waitFor } from './bucket.ts';
import { leftIn, type Purse } from './purses.ts';
import { NEVER } from './windows.ts';

/** Milliseconds after which it is worth asking again for money that other requests hold. */
export const HELD_RETRY_MS = 2_000;

/** @returns the refusal by the purse that stays too tight for the longest time; undefined if all purses have room. */
export function shortOfMoney(purses: readonly Purse[], needed: Nanodollars, now: number): Refusal | undefined {
  const short = purses.filter((purse) => leftIn(purse) < needed);
  const never = short.filter(({ most }) => most < needed);
  const spent = short.filter(({ most, settled }) => most - settled < needed);
  // Most of what other requests hold is free again when they are answered.
  const [first, ...others] = [never, spent, short].find((some) => some.length > 0) ?? [];
  if (first === undefined) return undefined;
  if (spent.length === 0) {
    const left = leftOf(first);
    return { ...refusalBy('held', first.name, now, now + HELD_RETRY_MS, needed, left, false), by: first.by };
  }
  const longest = others.reduce((most, purse) => (purse.end > most.end ? purse : most), first);
  return spendRefusal(longest, needed, now);
}

/**
 * @returns the refusal by one purse. If it never resets, asking again in an hour may help: somebody may have added credit.
 */
function spendRefusal(purse: Purse, needed: Nanodollars, now: number): Refusal {
  const { name, by, end, most } = purse;
  const left = leftOf(purse);
  const resetsAt = end >= NEVER ? now + HOUR_MS : end;
  return { ...refusalBy('spend', name, now, resetsAt, needed, left, needed > most), by };
}

/**
 * @returns the amount that the refusal reports as left; 0 for shared budgets, because it would tell what others have spent.
 */
function leftOf(purse: Purse): Nanodollars {
  return purse.by === 'group' || purse.by === 'deployment' ? 0 : Math.max(0, leftIn(purse));
}

/** @returns the refusal by a bucket. */
export function rateRefusal(
  name: string,
  fullAt: number,
  limit: number,
  now: number,
  units: number,
  held: number,
): Refusal {
  const left = Math.max(0, level(fullAt, limit, now) - held);
  const wait = waitFor(fullAt, limit, now, units + held);
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
