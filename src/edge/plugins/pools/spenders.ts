/** Lists the accounts that share a pool, with what each has spent. */

import { isVisitor } from '../../auth/identity/identity.ts';
import { toUsd } from '../../claude/pricing/cost.ts';
import type { ListPage } from '../../durable/page.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { createListResponse } from '../../kit/http/page.ts';
import { toIsoTimeOrNull } from '../../kit/http/times.ts';
import type { SpendLimitUsageBeforeRejection, UsageReport } from '../../money/account/usage-answers.schema.ts';
import { sortByTightness, toUsedTokenLimit } from '../../money/budget/binding-limits.ts';
import { computeUsedShare } from '../../money/budget/budget-windows.ts';
import {
  findCalendarWindowAt,
  formatCalendarWindowId,
  getUsdLimitName,
  mapPeriods,
  PERIODS,
  type Period,
} from '../../money/budget/windows.ts';
import type { DailyRejectionCount } from '../../money/contracts/account.ts';
import type { SharedBudgetKind } from '../../money/contracts/admission.ts';
import type { AccountSpendingQuery, PoolOverview, TightestLimitByGroup } from './contracts/pool.ts';
import type { LeaseListRow, PoolStore } from './pool-store.ts';
import type { AccountSpendRow, PoolQuotaReport } from './pools-answers.schema.ts';
import { VISITORS, VISITORS_LEASE } from './tables.ts';

/** The windows in the list of accounts. */
const LISTED_PERIODS = ['day', 'week', 'month'] as const;

/** @returns a row for each account that was not erased, and one for all visitors together. @param names only those of these */
export function listAccountSpendingRows(store: PoolStore, now: number, names?: readonly string[]): AccountSpendRow[] {
  const spans = mapPeriods(PERIODS, (period) => findCalendarWindowAt(period, now));
  const ids = mapPeriods(PERIODS, (period) => formatCalendarWindowId(period, spans[period].start));
  const resetsAt = mapPeriods(PERIODS, (period) =>
    period === 'total' ? null : new Date(spans[period].end).toISOString(),
  );
  const toUsdByPeriod = (spent: LeaseListRow['spent']) => mapPeriods(LISTED_PERIODS, (period) => toUsd(spent[period]));
  const rows: AccountSpendRow[] = [];
  let visitors: { spent: LeaseListRow['spent']; seenAt: number; refused: number } | undefined;
  for (const lease of store.iterateLeaseListRows(ids, names)) {
    if (lease.id === VISITORS_LEASE || isVisitor(lease.account ?? '')) {
      const group = visitors;
      visitors = {
        refused: (group?.refused ?? 0) + countRejectedToday(now, lease),
        spent: mapPeriods(PERIODS, (period) => (group?.spent[period] ?? 0) + lease.spent[period]),
        seenAt: Math.max(group?.seenAt ?? 0, lease.seenAt ?? 0),
      };
    } else if (lease.account !== null && !lease.isErased) {
      rows.push({
        type: 'account',
        id: lease.account,
        group: lease.group,
        spent_usd: toUsdByPeriod(lease.spent),
        limit_usd: mapPeriods(LISTED_PERIODS, (each) => lease.limits?.[`usd_per_${each}`] ?? null),
        tightest: findTightestAccountLimit(lease, resetsAt, now),
        blocked_by: lease.limits?.blockedBy ?? null,
        refused_today: countRejectedToday(now, lease),
        last_seen_at: toIsoTimeOrNull(lease.seenAt),
      });
    }
  }
  if (visitors) {
    const last_seen_at = toIsoTimeOrNull(visitors.seenAt || null);
    const { spent, refused: refused_today } = visitors;
    rows.push({ ...createUnknownAccountRow(VISITORS), spent_usd: toUsdByPeriod(spent), refused_today, last_seen_at });
  }
  return rows;
}

/** @returns the limit in USD that is used up most, of the limits that an account has reported; null if there is none */
function findTightestAccountLimit(
  { limits, spent }: LeaseListRow,
  resetsAt: Readonly<Record<Period, string | null>>,
  now: number,
): AccountSpendRow['tightest'] {
  const all = PERIODS.flatMap((period): SpendLimitUsageBeforeRejection[] => {
    const limit = getUsdLimitName(period);
    const limit_usd = limits?.[limit];
    if (limit_usd === undefined) return [];
    const figures = { limit_usd, used_usd: toUsd(spent[period]) };
    const prepaid = period === 'total' && limits?.prepaid ? { prepaid: true as const } : {};
    return [{ by: 'account', id: null, limit, ...figures, ...prepaid, resets_at: resetsAt[period] }];
  });
  const { token } = limits ?? {};
  if (token && (token.until === null || now < token.until)) all.push(toUsedTokenLimit(token));
  return sortByTightness(all, limits?.insufficient)[0] ?? null;
}

/** @returns the limits in USD of a pool, with their used amounts */
export function listUsedPoolLimits(
  by: SharedBudgetKind,
  id: string | null,
  standing: PoolQuotaReport,
): SpendLimitUsageBeforeRejection[] {
  return PERIODS.flatMap((period): SpendLimitUsageBeforeRejection[] => {
    const { limit_usd, spent_usd: used_usd } = standing[period];
    const resets_at = period === 'total' ? null : standing[period].resets_at;
    return limit_usd === null ? [] : [{ by, id, limit: getUsdLimitName(period), limit_usd, used_usd, resets_at }];
  });
}

/** @param groups the tightest limit of groups, by their names. @returns a row with that of its group, where it is tighter */
export function applyGroupLimitIfTighter(row: AccountSpendRow, groups: TightestLimitByGroup): AccountSpendRow {
  // A group may have any name, and one such as `__proto__` would read an inherited property.
  const limit = row.group !== null && Object.hasOwn(groups, row.group) ? groups[row.group] : undefined;
  return applySharedLimitIfTighter(row, limit);
}

/** @returns a row with the limit of a shared budget, where it is tighter than its own */
export function applySharedLimitIfTighter(
  row: AccountSpendRow,
  shared: SpendLimitUsageBeforeRejection | undefined,
): AccountSpendRow {
  return shared
    ? { ...row, tightest: sortByTightness(row.tightest ? [shared, row.tightest] : [shared])[0] ?? null }
    : row;
}

/** @param total of this day in UTC. @returns its failures, and how many accounts cannot send requests now */
export function createOverview(
  rows: readonly AccountSpendRow[],
  { requests, failed }: UsageReport['total'],
  lastFailedAt: number | null,
): Pick<PoolOverview, 'requests' | 'accounts'> {
  const blocked = rows.filter((row) => row.blocked_by !== null).length;
  const spent = rows.filter((row) => row.blocked_by === null && row.tightest?.refuses).length;
  const refused = rows.reduce((sum, { refused_today }) => sum + refused_today, 0);
  const last_failed_at = toIsoTimeOrNull(lastFailedAt);
  return { requests: { requests, failed, refused, last_failed_at }, accounts: { blocked, spent } };
}

/** @returns how many requests of two accounts were refused on the later of their days */
export function mergeDailyRejectionCounts(
  one: DailyRejectionCount | null | undefined,
  other: DailyRejectionCount | null | undefined,
): DailyRejectionCount | null {
  if (!one || !other) return one ?? other ?? null;
  if (one.day !== other.day) return one.day > other.day ? one : other;
  const groups = addCounts(one.groups, other.groups);
  return { day: one.day, count: one.count + other.count, by: addCounts(one.by, other.by), groups };
}

/** @returns the sum of counts, by their names */
function addCounts(
  one: Readonly<Record<string, number>>,
  other: Readonly<Record<string, number>>,
): Record<string, number> {
  // A group may have any name, even that of a property of all objects.
  const all = new Map(Object.entries(one));
  for (const [name, count] of Object.entries(other)) all.set(name, (all.get(name) ?? 0) + count);
  return Object.fromEntries(all);
}

/** @returns how many rejected requests an account has reported for this day in UTC */
function countRejectedToday(now: number, { refused }: LeaseListRow): number {
  return refused?.day === Math.floor(now / DAY_MS) ? refused.count : 0;
}

/** @returns the row of an account of which the pool knows nothing */
export function createUnknownAccountRow(id: string): AccountSpendRow {
  const nothing = { spent_usd: mapPeriods(LISTED_PERIODS, () => 0), limit_usd: mapPeriods(LISTED_PERIODS, () => null) };
  return {
    type: 'account',
    id,
    group: null,
    ...nothing,
    tightest: null,
    blocked_by: null,
    refused_today: 0,
    last_seen_at: null,
  };
}

/** The position of a row in the list: by its value, then by its id. */
type SpendingSortPosition = readonly [value: number | string, id: string];

/**
 * Sorts rows, and returns a page of them. The cursors of a page also contain the value by which the list was sorted, so that
 * the next page continues at the same position even if that account has spent more or was erased since.
 */
export function sortAndPaginateRows(rows: AccountSpendRow[], query: AccountSpendingQuery): ListPage<AccountSpendRow> {
  const { limit = 20, after_id, before_id, sort } = query;
  const sign = sort === 'group' ? 1 : -1;
  const placed = rows.map((row) => ({ row, place: [getSortValue(row, query), row.id] as SpendingSortPosition }));
  const compareSortPositions = ([value, id]: SpendingSortPosition, [other, otherId]: SpendingSortPosition) =>
    sign * compareSortValues(value, other) || compareSortValues(id, otherId);
  placed.sort((left, right) => compareSortPositions(left.place, right.place));
  /** @returns how many rows precede a position; with `isInclusive` also a row at it. */
  const countRowsBefore = (cursor: string, isInclusive: boolean) => {
    const edge = placed.find(({ row }) => row.id === cursor)?.place ?? parseSortPosition(cursor);
    return edge ? placed.filter(({ place }) => compareSortPositions(place, edge) < (isInclusive ? 1 : 0)).length : 0;
  };
  const end = before_id === undefined ? rows.length : countRowsBefore(before_id, false);
  const after = after_id === undefined ? 0 : countRowsBefore(after_id, true);
  const start = before_id === undefined ? after : Math.max(0, end - limit);
  const page = placed.slice(start, Math.min(end, start + limit));
  const hasMore = before_id === undefined ? start + limit < rows.length : start > 0;
  const list = createListResponse(page, hasMore, ({ place }) => JSON.stringify(place));
  return { ...list, data: list.data.map(({ row }) => row) };
}

function getSortValue(row: AccountSpendRow, { sort, period }: AccountSpendingQuery): SpendingSortPosition[0] {
  const { [period]: limit } = row.limit_usd;
  const { [period]: spent } = row.spent_usd;
  switch (sort) {
    case 'spent':
      return spent;
    case 'limit':
      return limit ?? -1;
    case 'used':
      if (row.blocked_by !== null) return Number.MAX_VALUE;
      if (!row.tightest) return -1;
      // A shared budget may reject requests before all of it is used. Sort such rows first, as if everything were used.
      return row.tightest.refuses ? Math.max(1, computeUsedShare(row.tightest)) : computeUsedShare(row.tightest);
    case 'refused':
      return row.refused_today;
    case 'last_seen':
      return row.last_seen_at ?? '';
    case 'group':
      return row.group ?? '';
  }
}

function compareSortValues(left: number | string, right: number | string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** @returns the place that the edge of a page names; undefined if it names none */
function parseSortPosition(cursor: string): SpendingSortPosition | undefined {
  try {
    const place: unknown = JSON.parse(cursor);
    if (!Array.isArray(place)) return undefined;
    const [value, id] = place as unknown[];
    if ((typeof value !== 'number' && typeof value !== 'string') || typeof id !== 'string') return undefined;
    return [value, id];
  } catch {
    return undefined;
  }
}
