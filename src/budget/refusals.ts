/** What is left of a budget, and why a request does not fit into it. */

import type { PoolKind, Refusal } from '../durable/contracts/admission.ts';
import type { Nanodollars } from '../pricing/cost.ts';
import { capacity, level, waitFor } from './bucket.ts';
import { CEILING, type Rules } from './rules.ts';
import type { Budget } from './state.ts';
import { PERIODS, type Period } from './windows.ts';

/** After this it is worth asking again for money that other requests hold. */
export const HELD_RETRY_MS = 2_000;

/** What one window of a pool leaves to this account. */
export interface SharedRoom {
  by: PoolKind;
  period: Period;
  /** Leased and unused, and what nobody has leased, as the pool told last. */
  free: Nanodollars;
  /** The same with what others hold: more can never be free in this window. */
  left: Nanodollars;
  limit: Nanodollars;
  /** When the window ends; milliseconds since 1970. */
  end: number;
}

/** @returns the limit of a window; `CEILING` where it has none. */
export function limitOf(rules: Rules, period: Period): Nanodollars {
  return rules.spend[period] ?? CEILING;
}

/** @returns what is free in one window; negative where it is overdrawn. */
export function leftIn(budget: Budget, rules: Rules, period: Period): Nanodollars {
  const { settled, held } = budget.windows[period];
  return limitOf(rules, period) - settled - held;
}

/** @returns what is free in the tightest window. */
export function freeIn(budget: Budget, rules: Rules, shared: readonly SharedRoom[] = []): Nanodollars {
  const own = Math.min(...PERIODS.map((period) => leftIn(budget, rules, period)));
  return shared.reduce((least, { free }) => Math.min(least, free), own);
}

/** @returns the refusal by the pools' window that stays too tight for the longest, if any is. It tells none of their figures. */
export function shortOfShared(shared: readonly SharedRoom[], needed: Nanodollars, now: number): Refusal | undefined {
  const short = shared.filter(({ free }) => free < needed);
  const never = short.filter(({ limit }) => limit < needed);
  const spent = short.filter(({ left }) => left < needed);
  const [first, ...others] = [never, spent, short].find((rooms) => rooms.length > 0) ?? [];
  if (first === undefined) return undefined;
  const longest = others.reduce((most, room) => (room.end > most.end ? room : most), first);
  const { by, period, end } = longest;
  const isHeld = never.length === 0 && spent.length === 0;
  const reason = isHeld ? 'held' : 'spend';
  const resetsAt = isHeld ? now + HELD_RETRY_MS : end;
  return { ...refusalBy(reason, `usd_per_${period}`, now, resetsAt, needed, 0, never.length > 0), by };
}

/** @returns the refusal by the window that stays too tight for the longest, if any is. */
export function shortOfMoney(budget: Budget, rules: Rules, needed: Nanodollars, now: number): Refusal | undefined {
  const short = PERIODS.filter((period) => leftIn(budget, rules, period) < needed);
  const never = short.filter((period) => limitOf(rules, period) < needed);
  const spent = short.filter((period) => limitOf(rules, period) - budget.windows[period].settled < needed);
  // Most of what other requests hold is free again once they are answered.
  const [first, ...others] = [never, spent, short].find((periods) => periods.length > 0) ?? [];
  if (first === undefined) return undefined;
  if (spent.length === 0) {
    const left = Math.max(0, leftIn(budget, rules, first));
    return refusalBy('held', `usd_per_${first}`, now, now + HELD_RETRY_MS, needed, left, false);
  }
  const end = (period: Period) => budget.windows[period].end;
  const longest = others.reduce((most, period) => (end(period) > end(most) ? period : most), first);
  return spendRefusal(budget, rules, longest, needed, now);
}

/** @returns the refusal by one window's limit. */
export function spendRefusal(budget: Budget, rules: Rules, period: Period, needed: Nanodollars, now: number): Refusal {
  const left = Math.max(0, leftIn(budget, rules, period));
  const never = needed > limitOf(rules, period);
  return refusalBy('spend', `usd_per_${period}`, now, budget.windows[period].end, needed, left, never);
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

/** @returns a refusal; times in milliseconds since 1970. */
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
  return { kind: 'refused', reason, limit, retryAfter, resetsAt, needed, left, never };
}
