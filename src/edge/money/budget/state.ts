/** The state of an account's budget, and how it changes: windows, buckets, holds. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { advanceTime, correctTime } from '../../kit/async/clock.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import type { LoweredBy } from '../contracts/lowered-by.schema.ts';
import { takeUnitsFromBucket } from './bucket.ts';
import type { LimitRules } from './rules.ts';
import { findCalendarWindowAt, mapPeriods, PERIODS, type Period, type WindowSpan } from './windows.ts';

/** The stage of a hold whose stream is abandoned but still read. It does not count as a running request. */
export const ABANDONED_STAGE = 'abandoned';
/** The stage of a batch's hold. Such a hold is only money, and does not count as a running request. */
export const BATCH_STAGE = 'batch';

/** The reservation of a running request. */
export interface Hold {
  id: string;
  /** When it was admitted, in milliseconds since 1970. Its cost belongs to the windows of this time, whenever it is settled. */
  at: number;
  /** After this time it is an orphan, which the alarm settles; milliseconds since 1970. */
  deadline: number;
  nanodollars: Nanodollars;
  inputTokens: number;
  outputTokens: number;
  maxTokens: number;
  /** Whose limit has lowered that, or uses; absent if none has, and after the object has woken. */
  loweredBy?: LoweredBy | undefined;
  /** The last reported progress of the request. */
  stage: string;
  /** The group whose pool also pays; absent if there is none. */
  group?: string | undefined;
  /** The id of the credential; null in development without one. */
  token?: string | null | undefined;
  /** The model that was asked for; absent after the object has woken. */
  model?: string | undefined;
}

export interface WindowAmounts extends WindowSpan {
  settled: Nanodollars;
  held: Nanodollars;
}

/** The time at which each bucket will be full again. */
export interface BucketRefillTimes {
  requests: number;
  input: number;
  output: number;
  counts: number;
}

/** The budget of one account, in memory. */
export interface Budget {
  /** The time by which the last decision was made. A small correction of the clock does not set it back; see `clock.ts`. */
  last: number;
  /** The latest time that the clock has ever shown. */
  latest: number;
  windows: Record<Period, WindowAmounts>;
  /** The windows of each group for which the account has held or settled something. */
  groups: Map<string, Record<Period, WindowAmounts>>;
  fullAt: BucketRefillTimes;
  heldInput: number;
  heldOutput: number;
  holds: Map<string, Hold>;
  /** How many of the holds belong to batches. */
  batchHoldCount: number;
  /** How much credit adds to the limit `usd_total`, at the time `last`. */
  credit: Nanodollars;
}

/** The tokens that a request took from the buckets. */
export interface TokensTakenFromBuckets {
  /** Input tokens without cache reads. */
  inputTokens: number;
  outputTokens: number;
}

/** @returns the budget of an account that has used nothing, as of `now`. */
export function createEmptyBudget(now: number): Budget {
  return {
    last: now,
    latest: now,
    windows: createEmptyWindows(now),
    groups: new Map(),
    fullAt: { requests: 0, input: 0, output: 0, counts: 0 },
    heldInput: 0,
    heldOutput: 0,
    holds: new Map(),
    batchHoldCount: 0,
    credit: 0,
  };
}

/**
 * Moves the budget to `now`: replaces windows that have ended by new ones. `replaceAmountsAfterClockChange` comes first if
 * `mustRereadAmounts` says so.
 *
 * @returns the time to decide by. It is never earlier than an earlier result, unless the clock was ahead
 */
export function advanceBudgetTo(budget: Budget, now: number): number {
  budget.last = Math.max(budget.last, now);
  budget.latest = Math.max(budget.latest, now);
  replaceEndedWindows(budget.windows, budget.last);
  for (const windows of budget.groups.values()) replaceEndedWindows(windows, budget.last);
  return budget.last;
}

/**
 * @returns whether the amounts of the windows must be read again: the clock was ahead and is right now, or it reaches a window
 *   again in which it has been before
 */
export function mustRereadAmounts(budget: Budget, now: number): boolean {
  const time = advanceTime(budget.last, now);
  return (
    time < budget.last ||
    PERIODS.some((period) => {
      const { end } = budget.windows[period];
      return time >= end && budget.latest >= end;
    })
  );
}

/** The settled amounts of an account's requests, by window. */
export interface SettledAmounts {
  settled: Readonly<Record<Period, Nanodollars>>;
  groups: readonly { group: string; settled: Readonly<Record<Period, Nanodollars>> }[];
}

/**
 * Moves the budget to `now`, in either direction, with the amounts that were settled since its windows have begun. What was
 * settled while the clock was ahead is part of them, and may exceed a limit. So are holds of that time.
 */
export function replaceAmountsAfterClockChange(budget: Budget, now: number, { settled, groups }: SettledAmounts): void {
  const { last, fullAt } = budget;
  const correct = (time: number) => correctTime(time, last, now);
  budget.fullAt = {
    requests: correct(fullAt.requests),
    input: correct(fullAt.input),
    output: correct(fullAt.output),
    counts: correct(fullAt.counts),
  };
  budget.last = now;
  budget.latest = Math.max(budget.latest, last, now);
  budget.windows = createEmptyWindows(now);
  budget.groups.clear();
  for (const period of PERIODS) budget.windows[period].settled = settled[period];
  for (const { group, settled: ofGroup } of groups) {
    const windows = getOrCreateGroupWindows(budget, group);
    for (const period of PERIODS) windows[period].settled = ofGroup[period];
  }
  for (const hold of budget.holds.values()) {
    hold.at = Math.min(hold.at, now);
    hold.deadline = correct(hold.deadline);
    for (const window of findWindowsAt(budget, hold.at, hold.group)) window.held += hold.nanodollars;
  }
}

/** @returns the windows of a group. Makes empty ones if it has none yet. */
export function getOrCreateGroupWindows(budget: Budget, group: string): Record<Period, WindowAmounts> {
  return getOrCreate(budget.groups, group, () => createEmptyWindows(budget.last));
}

function createEmptyWindows(now: number): Record<Period, WindowAmounts> {
  return mapPeriods(PERIODS, (period) => ({ ...findCalendarWindowAt(period, now), settled: 0, held: 0 }));
}

function replaceEndedWindows(windows: Record<Period, WindowAmounts>, now: number): void {
  for (const period of PERIODS) {
    if (now >= windows[period].end) windows[period] = { ...findCalendarWindowAt(period, now), settled: 0, held: 0 };
  }
}

/** @returns every window that contains a time: the account's, and those of the group that also pays. */
function findWindowsAt(budget: Budget, at: number, group: string | undefined): WindowAmounts[] {
  const own = PERIODS.map((period) => budget.windows[period]);
  const all = group === undefined ? own : [...own, ...Object.values(getOrCreateGroupWindows(budget, group))];
  return all.filter(({ start, end }) => at >= start && at < end);
}

/** Takes a token count out of its bucket. It was made for a request that was then rejected. */
export function takeTokenCountFromBucket(budget: Budget, rules: LimitRules): void {
  if (rules.counts !== undefined)
    budget.fullAt.counts = takeUnitsFromBucket(budget.fullAt.counts, rules.counts, budget.last, 1);
}

/** @returns the buckets after a request was taken out. Pass them to `addHold`, and store them with the hold. */
export function computeBucketsAfterAdmission(budget: Budget, rules: LimitRules, repeats = false): BucketRefillTimes {
  const { fullAt, last } = budget;
  return rules.requests === undefined || repeats
    ? fullAt
    : { ...fullAt, requests: takeUnitsFromBucket(fullAt.requests, rules.requests, last, 1) };
}

/** Adds a hold to the budget, with the buckets that `computeBucketsAfterAdmission` has returned. */
export function addHold(budget: Budget, hold: Hold, buckets: BucketRefillTimes): void {
  budget.fullAt = buckets;
  budget.holds.set(hold.id, hold);
  if (hold.stage === BATCH_STAGE) budget.batchHoldCount += 1;
  budget.heldInput += hold.inputTokens;
  budget.heldOutput += hold.outputTokens;
  for (const window of findWindowsAt(budget, hold.at, hold.group)) window.held += hold.nanodollars;
}

/** @returns the buckets after what was used is taken out. Pass them to `settleHoldInBudget`, and store them with the settlement. */
export function computeBucketsAfterSettlement(
  budget: Budget,
  rules: LimitRules,
  used: TokensTakenFromBuckets,
): BucketRefillTimes {
  const { fullAt, last } = budget;
  return {
    ...fullAt,
    input:
      rules.input === undefined ? fullAt.input : takeUnitsFromBucket(fullAt.input, rules.input, last, used.inputTokens),
    output:
      rules.output === undefined
        ? fullAt.output
        : takeUnitsFromBucket(fullAt.output, rules.output, last, used.outputTokens),
  };
}

/**
 * Replaces a hold by what the request cost, in the windows in which it was admitted. Does nothing if there is no such hold.
 */
export function settleHoldInBudget(budget: Budget, hold: Hold, cost: Nanodollars, buckets: BucketRefillTimes): void {
  if (!budget.holds.delete(hold.id)) return;
  if (hold.stage === BATCH_STAGE) budget.batchHoldCount -= 1;
  budget.fullAt = buckets;
  budget.heldInput -= hold.inputTokens;
  budget.heldOutput -= hold.outputTokens;
  for (const window of findWindowsAt(budget, hold.at, hold.group)) {
    window.held -= hold.nanodollars;
    window.settled += cost;
  }
}

/**
 * Adds to the settled sums of the windows that contain `at`: for a request without a hold, or as a correction.
 *
 * @param more nanodollars; may be negative
 */
export function addCostToWindows(budget: Budget, at: number, more: Nanodollars, group?: string): void {
  for (const window of findWindowsAt(budget, at, group)) window.settled += more;
}
