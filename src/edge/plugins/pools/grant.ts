/**
 * Computes how much each account of a pool may spend. Uses no storage, no clock and no await.
 *
 * In every window, the sum of the counts of all leases never exceeds the limit, because a grant is taken from the free amount.
 * The exceptions are debt, and a limit that was lowered.
 */

import { type Nanodollars, toUsd } from '../../claude/pricing/cost.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import type { BatchHoldsTotal } from '../../money/budget/budget-windows.ts';
import {
  CALENDAR_PERIODS,
  findCalendarWindowAt,
  formatCalendarWindowId,
  mapPeriods,
  type Period,
} from '../../money/budget/windows.ts';
import type { LeaseRequest, LeaseRequestWindow, LeaseResponse, LeaseResponseWindow } from './contracts/pool.ts';
import type { PoolQuotaReport } from './pools-answers.schema.ts';

/** Milliseconds for which a window is remembered after its end, because accounts with slow clocks are still in it. */
const REMEMBERED_MS = 10 * MINUTE_MS;
/** A lease is active if its account has called within this time. Active leases share the free amount. Milliseconds. */
const ACTIVE_MS = MINUTE_MS;
/** Milliseconds for which a count of the active leases is used. */
const COUNT_AGAIN_MS = 1_000;

/** A pool's record of one account in one window. */
export interface LeasedWindow {
  end: number;
  spent: Nanodollars;
  /** The most that the account may settle and hold; never less than what it has reported. */
  granted: Nanodollars;
}

/** A pool's record of one account. */
export interface AccountLease {
  id: string;
  incarnation: number;
  seq: number;
  /** When it last called; milliseconds since 1970. */
  toldAt: number;
  /** Whether it has an amount that it has not spent or not reported. Then the pool calls its account if it is silent. */
  open: boolean;
  windows: Record<string, LeasedWindow>;
  /** The holds of the account's batches. */
  batched?: BatchHoldsTotal | undefined;
}

/** A pool's open leases, and the sums of all leases in each window. A closed lease is only a row. */
export interface OpenLeasesAndTotals<Known extends AccountLease = AccountLease> {
  open: Map<string, Known>;
  counts: Map<string, LeasedWindow>;
  active: { count: number; at: number };
}

/** The limits of a pool, by the period of the window. */
export type PoolLimitByPeriod = Partial<Record<LeaseRequestWindow['period'], Nanodollars | undefined>>;

export function createOpenLeasesAndTotals<Known extends AccountLease>(
  leases: Iterable<Known>,
  now: number,
): OpenLeasesAndTotals<Known> {
  const books: OpenLeasesAndTotals<Known> = {
    open: new Map(),
    counts: new Map(),
    active: { count: 0, at: Number.NEGATIVE_INFINITY },
  };
  for (const lease of leases) {
    if (lease.open) books.open.set(lease.id, lease);
    addLeaseToTotals(books, lease, 1, now);
  }
  return books;
}

/** @returns the spent and leased amounts of every window, in the form of responses. */
export function createPoolWindowsReport(
  { counts }: OpenLeasesAndTotals<AccountLease>,
  rules: PoolLimitByPeriod,
  now: number,
): Omit<PoolQuotaReport, 'limits'> {
  const reportPeriodSpending = (period: Period): PoolQuotaReport['day'] => {
    const { start, end } = findCalendarWindowAt(period, now);
    const window = formatCalendarWindowId(period, start);
    const { spent, granted } = counts.get(window) ?? { spent: 0, granted: 0 };
    const limit = rules[period];
    return {
      window,
      limit_usd: limit === undefined ? null : toUsd(limit),
      spent_usd: toUsd(spent),
      leased_usd: toUsd(Math.max(0, granted - spent)),
      resets_at: new Date(end).toISOString(),
    };
  };
  const { resets_at: _, ...total } = reportPeriodSpending('total');
  return { ...mapPeriods(CALENDAR_PERIODS, reportPeriodSpending), total };
}

/** @returns whether a call is newer than the last known call of its lease. */
export function isNewerLeaseRequest(
  call: Pick<LeaseRequest, 'incarnation' | 'seq'>,
  lease: AccountLease | undefined,
): boolean {
  if (!lease) return true;
  return call.incarnation > lease.incarnation || (call.incarnation === lease.incarnation && call.seq > lease.seq);
}

/** @returns whether a lease has other figures than before. */
export function hasLeaseChanged(
  before: Pick<AccountLease, 'windows'>,
  { windows }: Pick<AccountLease, 'windows'>,
): boolean {
  return Object.entries(windows).some(([id, { spent, granted }]) => {
    const present = before.windows[id];
    return present === undefined || present.spent !== spent || present.granted !== granted;
  });
}

/**
 * Applies a newer call, and grants an amount. Changes the counts. The caller must store the returned lease before it responds.
 *
 * @param before the previous lease
 * @returns the new lease
 */
export function grantLease(
  books: OpenLeasesAndTotals,
  rules: PoolLimitByPeriod,
  call: LeaseRequest,
  before: AccountLease | undefined,
  now: number,
): AccountLease {
  for (const [id, window] of books.counts) if (isWindowExpired(window, now)) books.counts.delete(id);
  if (before) addLeaseToTotals(books, before, -1, now);
  const windows: Record<string, LeasedWindow> = {};
  for (const [id, window] of Object.entries(before?.windows ?? {}))
    if (!isWindowExpired(window, now)) windows[id] = window;
  const grants = computeGrants(books, rules, call, now);
  for (const [at, { id, end, spent, kept }] of call.windows.entries()) {
    windows[id] = { end, spent, granted: spent + kept + (grants[at] ?? 0) };
  }
  const { lease: id, incarnation, seq, batched } = call;
  const open = call.windows.some((window) => (windows[window.id]?.granted ?? 0) > window.spent);
  const lease = { id, incarnation, seq, toldAt: now, open, windows, batched };
  addLeaseToTotals(books, lease, 1, now);
  return lease;
}

/**
 * Adds the spending of a lease to the shared lease of ended visitors. Changes the counts. The caller must store both.
 *
 * @returns the new windows of the shared lease
 */
export function mergeIntoEndedLease(
  books: OpenLeasesAndTotals,
  lease: AccountLease,
  ended: AccountLease | undefined,
  now: number,
): Record<string, LeasedWindow> {
  addLeaseToTotals(books, lease, -1, now);
  if (ended) addLeaseToTotals(books, ended, -1, now);
  const windows: Record<string, LeasedWindow> = {};
  for (const [id, window] of [...Object.entries(ended?.windows ?? {}), ...Object.entries(lease.windows)]) {
    if (isWindowExpired(window, now)) continue;
    const spent = (windows[id]?.spent ?? 0) + window.spent;
    windows[id] = { end: window.end, spent, granted: spent };
  }
  addLeaseToTotals(books, { ...lease, windows }, 1, now);
  return windows;
}

/**
 * Replaces windows of a lease that no account has. Changes the counts. The caller must store it.
 *
 * @returns all of its windows that are remembered
 */
export function replaceLeaseWindows(
  books: OpenLeasesAndTotals,
  before: AccountLease | undefined,
  changed: Readonly<Record<string, LeasedWindow>>,
  now: number,
): Record<string, LeasedWindow> {
  const all = Object.entries({ ...before?.windows, ...changed });
  const windows = Object.fromEntries(all.filter(([, window]) => !isWindowExpired(window, now)));
  if (before) addLeaseToTotals(books, before, -1, now);
  addLeaseToTotals(books, { windows }, 1, now);
  return windows;
}

/** @returns the amounts of a lease in the requested windows, by their ids. */
export function createLeaseResponse(
  books: OpenLeasesAndTotals,
  rules: PoolLimitByPeriod,
  lease: AccountLease,
  figures: readonly LeaseRequestWindow[],
): Omit<LeaseResponse, 'told'> {
  let slice = Number.POSITIVE_INFINITY;
  let batched: BatchHoldsTotal | undefined;
  const windows = figures.flatMap(({ id, period, spent, kept, least }): LeaseResponseWindow[] => {
    const present = lease.windows[id];
    if (!present) return [];
    const limit = rules[period];
    if (limit === undefined) return [{ id, granted: null, limit: 0, free: 0, left: 0 }];
    const total = books.counts.get(id) ?? { spent: 0, granted: 0 };
    const free = limit - total.granted;
    const isRefused = least > 0 && present.granted < spent + kept + least;
    if (isRefused) batched ??= sumBatchHoldsOfLeases(books.open.values());
    slice = Math.min(slice, isRefused ? 0 : computeShareOfFree(free, books.active.count));
    return [{ id, granted: present.granted, limit, free, left: Math.max(0, limit - total.spent) }];
  });
  const { incarnation, seq } = lease;
  return { incarnation, seq, windows, slice: Number.isFinite(slice) ? slice : Number.MAX_SAFE_INTEGER, batched };
}

/** @returns the holds of the batches of all leases, and when the last of them must have ended. */
function sumBatchHoldsOfLeases(leases: Iterable<AccountLease>): BatchHoldsTotal {
  const sum = { nanodollars: 0, until: 0 };
  for (const { batched } of leases) {
    if (!batched) continue;
    sum.nanodollars += batched.nanodollars;
    sum.until = Math.max(sum.until, batched.until);
  }
  return sum;
}

/**
 * @returns the amount that each window of a call gets in addition to what it keeps. If one window has too little, none gets
 *   anything: the request could not use it, and other accounts would lack it
 */
function computeGrants(
  books: OpenLeasesAndTotals,
  rules: PoolLimitByPeriod,
  call: LeaseRequest,
  now: number,
): Nanodollars[] {
  const free = call.windows.map(({ id, period, spent, kept }) => {
    const limit = rules[period];
    // `counts` does not include this lease any more (the caller has subtracted it), so subtract what the account has spent and
    // keeps.
    if (limit === undefined) return Number.POSITIVE_INFINITY;
    return limit - (books.counts.get(id)?.granted ?? 0) - spent - kept;
  });
  const isEnoughFree = (part: 'want' | 'least') => call.windows.every((window, at) => (free[at] ?? 0) >= window[part]);
  const limited = call.windows.map(({ period }) => rules[period] !== undefined);
  if (isEnoughFree('want')) {
    const spare = Math.min(...call.windows.map(({ want }, at) => (free[at] ?? 0) - want));
    const more = Math.min(call.wish, computeShareOfFree(spare, countActiveLeases(books, call.lease, now)));
    return call.windows.map(({ want }, at) => (limited[at] ? want + more : 0));
  }
  if (!isEnoughFree('least')) return call.windows.map(() => 0);
  // Grant at most half of the free amount, so that some of it is left for the next request. An account's own budget does the
  // same.
  return call.windows.map(({ want, least }, at) =>
    limited[at] ? Math.max(least, Math.min(want, Math.floor((free[at] ?? 0) / 2))) : 0,
  );
}

/** @returns the part of the free amount that each of `active` leases may keep for later. Together they keep half of it. */
function computeShareOfFree(free: Nanodollars, active: number): Nanodollars {
  return Math.max(0, Math.floor(free / (2 * Math.max(1, active))));
}

function countActiveLeases(books: OpenLeasesAndTotals, asking: string, now: number): number {
  const { active } = books;
  if (now - active.at >= COUNT_AGAIN_MS || now < active.at) {
    let count = 1;
    for (const { id, toldAt } of books.open.values()) if (id !== asking && toldAt > now - ACTIVE_MS) count += 1;
    books.active = { count, at: now };
  }
  return books.active.count;
}

function addLeaseToTotals(
  books: OpenLeasesAndTotals,
  { windows }: Pick<AccountLease, 'windows'>,
  sign: 1 | -1,
  now: number,
): void {
  for (const [id, window] of Object.entries(windows)) {
    if (isWindowExpired(window, now)) continue;
    const total = books.counts.get(id) ?? { end: window.end, spent: 0, granted: 0 };
    total.spent += sign * window.spent;
    total.granted += sign * window.granted;
    books.counts.set(id, total);
  }
}

/** @returns whether a window is not remembered any more. */
function isWindowExpired({ end }: LeasedWindow, now: number): boolean {
  return end + REMEMBERED_MS <= now;
}
