/** Reads what an account's object must know when it wakes, in as few statements as possible. */
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { DAY_MS, HOUR_MS } from '../../kit/async/durations.ts';
import type { BucketRefillTimes, Hold } from '../budget/state.ts';
import { mapPeriods, PERIODS, type Period } from '../budget/windows.ts';

/** The state that an object must read when it wakes, so that it decides as if it had stayed in memory. */
export interface WakeState {
  last: number;
  fullAt: Omit<BucketRefillTimes, 'counts'>;
  holds: Hold[];
  /** The settled amounts of requests admitted in each window. */
  settled: SettledByPeriod;
  groups: { group: string; settled: SettledByPeriod }[];
  /** Whether the account was ever given credit. */
  hasCredit: boolean;
}

/** When each window began, in milliseconds since 1970. Each but the hour begins with a day. */
export type WindowStarts = Readonly<Record<Period, number>>;
type SettledByPeriod = Record<Period, Nanodollars>;

/** The result of one scan of all rows that are not folded. Sums and highest values of no rows are null. */
type UnfoldedScanRow = Record<'unfolded' | 'grouped' | 'folded' | 'credited', number> &
  Record<'held' | 'at' | 'settled_at' | Period | keyof WakeState['fullAt'], number | null>;

type HoldSqlRow = Record<string, SqlStorageValue> & Omit<Hold, 'group'> & { group: string | null };

const SCAN = `select count(*) as unfolded, count(pool_group) as grouped, sum(status = 'held') as held,
    max(at) as at, max(settled_at) as settled_at, max(requests_full_at) as requests, max(input_full_at) as input,
    max(output_full_at) as output, ${createPeriodSumsSql('at')},
    exists (select 1 from rollups) as folded, exists (select 1 from credits) as credited
  from ledger where id > ?1`;
const HOLDS = `select id, at, deadline, hold as nanodollars, held_input as inputTokens, held_output as outputTokens,
  max_tokens as maxTokens, stage, token, pool_group as "group" from ledger`;
/** A day's rollup does not contain the sums of an hour, so it has no `hour_at`. */
const GROUP_SUMS = `select pool_group as "group", ${createPeriodSumsSql('hour_at')} from (
    select pool_group, at, at as hour_at, cost from ledger where id > ?1 and pool_group is not null
    union all
    select pool_group, day * ${DAY_MS}, null, cost from group_rollups
  ) group by pool_group`;

/** @returns SQL that sums up costs by window. `?2` to `?5` are the windows' starts. @param hourAt the time for the hour */
function createPeriodSumsSql(hourAt: string): string {
  return `sum(cost) filter (where ${hourAt} >= ?2) as hour, sum(cost) filter (where at >= ?3) as day,
    sum(cost) filter (where at >= ?4) as week, sum(cost) filter (where at >= ?5) as month, sum(cost) as total`;
}

/**
 * Reads the rows of the ledger that are not folded, once, and the rollups, if there are any. Each statement that an object
 * has not used since it woke must be compiled first, which takes longer than reading a few rows.
 *
 * @param starts when the windows began whose sums are wanted
 * @returns what it must know, and how many rows are not folded
 */
export function readWakeState(
  tables: SqlTables,
  fold: LedgerFoldState,
  starts: WindowStarts,
): WakeState & { unfolded: number } {
  const { last, requests, input, output, hour } = fold;
  // The query returns no row if the account has no tables yet.
  const [seen = {}] = tables.readAllRows<Partial<UnfoldedScanRow>>(SCAN, fold.marker, ...toWindowStartBindings(starts));
  const { unfolded = 0, grouped = 0 } = seen;
  const settled = toSettledByPeriod(seen);
  if (hour.start === starts.hour) settled.hour += hour.cost;
  const isFolded = seen.folded === 1;
  if (isFolded) addFoldedSums(tables, settled, starts);
  const mayHaveGroups = isFolded || grouped > 0 || hour.groups !== undefined;
  return {
    unfolded,
    last: Math.max(last, seen.at ?? 0, seen.settled_at ?? 0),
    fullAt: {
      requests: Math.max(requests, seen.requests ?? 0),
      input: Math.max(input, seen.input ?? 0),
      output: Math.max(output, seen.output ?? 0),
    },
    holds: readHolds(tables, fold, seen.held ?? 0),
    settled,
    groups: mayHaveGroups ? readGroups(tables, fold, starts, grouped > 0) : [],
    hasCredit: seen.credited === 1,
  };
}

/** Adds what was settled by rows that are folded. (For the hour it is known already.) */
function addFoldedSums(tables: SqlTables, settled: SettledByPeriod, { day, week, month }: WindowStarts): void {
  const [sums] = tables.readAllRows<Record<string, number | null>>(
    `select sum(cost) as total, sum(cost) filter (where day >= ?1) as day, sum(cost) filter (where day >= ?2) as week,
       sum(cost) filter (where day >= ?3) as month from rollups`,
    ...[day, week, month].map((start) => Math.floor(start / DAY_MS)),
  );
  for (const period of PERIODS) settled[period] += sums?.[period] ?? 0;
}

/** @param unfolded how many of the holds are not before the marker */
function readHolds(tables: SqlTables, { marker, heldRowIds }: LedgerFoldState, unfolded: number): Hold[] {
  const rows =
    unfolded === 0 ? [] : tables.readAllRows<HoldSqlRow>(`${HOLDS} where id > ? and status = 'held'`, marker);
  for (const id of heldRowIds)
    rows.push(...tables.readAllRows<HoldSqlRow>(`${HOLDS} where id = ? and status = 'held'`, id));
  return rows.map((row): Hold => ({ ...row, group: row.group ?? undefined }));
}

/** @param isUnfolded whether a row that is not folded has a group */
function readGroups(
  tables: SqlTables,
  { marker, hour }: LedgerFoldState,
  starts: WindowStarts,
  isUnfolded: boolean,
): WakeState['groups'] {
  const inHour = new Map(Object.entries((hour.start === starts.hour ? hour.groups : undefined) ?? {}));
  // Most accounts belong to no group. For them, skip the query for the groups' sums.
  if (inHour.size === 0 && !isUnfolded && !tables.hasRows('group_rollups')) return [];
  const rows = tables.readAllRows<Record<string, number | null> & { group: string }>(
    GROUP_SUMS,
    marker,
    ...toWindowStartBindings(starts),
  );
  return rows.map(({ group, ...sums }) => {
    const settled = toSettledByPeriod(sums);
    settled.hour += inHour.get(group) ?? 0;
    return { group, settled };
  });
}

/** @returns the starts of the windows in the order in which statements are given them. */
function toWindowStartBindings({ hour, day, week, month }: WindowStarts): number[] {
  return [hour, day, week, month];
}

/** @returns the sums by window that a row has. */
function toSettledByPeriod(row: Readonly<Record<string, number | null | undefined>>): SettledByPeriod {
  return mapPeriods(PERIODS, (period) => row[period] ?? 0);
}

/** The end of the folded rows. */
export interface LedgerFoldState {
  marker: string;
  last: number;
  requests: number;
  input: number;
  output: number;
  /** Rows up to the marker that were not settled when it was set. */
  heldRowIds: string[];
  /** The cost of the folded rows of the latest hour, in total and by group. */
  hour: { start: number; cost: Nanodollars; groups?: Record<string, Nanodollars> };
  /** The number of the last change of the rollups that was noted here. */
  seq: number;
}

/** The state before the first fold. */
export const NO_FOLD: LedgerFoldState = {
  marker: '',
  last: 0,
  requests: 0,
  input: 0,
  output: 0,
  heldRowIds: [],
  hour: { start: 0, cost: 0 },
  seq: 0,
};

/** @returns the sum of the latest hour, after adding a cost of the time `at`. Earlier hours are not kept. */
export function addCostToLatestHour(
  { hour }: Pick<LedgerFoldState, 'hour'>,
  at: number,
  cost: Nanodollars,
  group?: string | null,
): Pick<LedgerFoldState, 'hour'> {
  const start = toStartOfHour(at);
  if (start < hour.start) return { hour };
  const before: LedgerFoldState['hour'] = hour.start === start ? hour : { start, cost: 0 };
  if (!group) return { hour: { ...before, cost: before.cost + cost } };
  // Use a `Map`: a group may have any name, and one such as `constructor` would read an inherited property of a plain object.
  const groups = new Map(Object.entries(before.groups ?? {}));
  groups.set(group, (groups.get(group) ?? 0) + cost);
  return { hour: { start, cost: before.cost + cost, groups: Object.fromEntries(groups) } };
}

/** @returns when the hour of a time began. */
export function toStartOfHour(time: number): number {
  return Math.floor(time / HOUR_MS) * HOUR_MS;
}
