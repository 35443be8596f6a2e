/**
 * Makes an account's reports of its ledger: absolute sums of what has changed since the last report. Repeating a report
 * changes nothing.
 *
 * Changes are numbered by `ledger.rollups.seq`. Rows that are not folded yet are reported each time. Models are reported by whole
 * days. For a day's tokens, users and tags only changed values are reported, unless some values share a row: which ones do is
 * decided again at each fold, so then the whole dimension is reported.
 */
import {
  addSums,
  packSums,
  SUM_COLUMNS,
  SUMMED_COLUMNS,
  SUMS_TOTALS_SQL,
  subtractSums,
  type UsageSums,
  unpackSums,
} from '../../claude/pricing/usage-sums.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { Ledger } from '../../money/ledger/ledger.ts';
import {
  type DimensionSum,
  NO_GROUP,
  OTHER_VALUE,
  RollupValueLimiter,
  sumRowsByDimension,
} from '../../money/ledger/rollups.ts';
import { ERASED_MODEL, ROLLUP_MODEL } from '../../money/ledger/tables.ts';
import type { UsageSumsReport, UsageSumsReportRow } from './contracts/sums.ts';

/** After this many rows a report ends with the current change. The next report has the rest. */
const ROWS_A_REPORT = 500;

type UsageSumsSqlRow = Record<string, SqlStorageValue> & UsageSums;
/** Sums by value, and for each value by group. The sum without a group is the total minus those of all groups. */
type SumsByValueAndGroup = Map<string, { all: UsageSums; groups: Map<string, UsageSums> }>;

const UNFOLDED = "id > ? and status != 'held'";

/**
 * Reads the sums that have changed since the last report.
 *
 * @param since the change up to which they were reported; -1 for all sums
 * @returns the sums, and the change up to which they go. It is less than `ledger.rollups.seq` if more is left
 */
export function createChangedSumsReport(ledger: Ledger, since: number): UsageSumsReport {
  const from = since < 0 ? 0 : ledger.rollups.findFirstChangedDay(since);
  const seq = findLastChangeToReport(ledger, since, from);
  const isLast = seq === ledger.rollups.lastChangeNumber;
  const days = new Set(
    ledger
      .readAllRows<{ day: number }>(
        'select distinct day from rollups where day >= ? and seq > ? and seq <= ? order by day',
        from,
        since,
        seq,
      )
      .map(({ day }) => day),
  );
  if (isLast) for (const day of listUnfoldedDays(ledger)) days.add(day);
  const report: UsageSumsReport = { since, seq, rows: [], whole: [] };
  for (const day of days) {
    report.rows.push(...sumUsageOfDay(ledger, day));
    report.whole.push({ day, dimension: 'model' });
  }
  const changed = ledger.readAllRows<{ day: number; dimension: string; value: string }>(
    'select day, dimension, value from dimensions where day >= ? and seq > ? and seq <= ?',
    from,
    since,
    seq,
  );
  addDimensionSumsToReport(
    ledger,
    report,
    changed,
    isLast ? sumRowsByDimension(ledger, UNFOLDED, ledger.lastFoldedRowId) : [],
  );
  return report;
}

/**
 * Sums up the spending of an erased account, by day and group, without any names.
 *
 * @param since the last change whose sums were reported; undefined if unknown
 */
export function createNamelessSumsReport(ledger: Ledger, since: number | undefined): UsageSumsReport {
  const all = ledger.readAllRows<{ day: number }>(
    `select distinct day from rollups where model != '${ERASED_MODEL}' and seq > ? order by day`,
    since ?? -1,
  );
  const days = new Set([...all.map(({ day }) => day), ...listUnfoldedDays(ledger)]);
  const rows = [...days].flatMap((day): UsageSumsReportRow[] => {
    const groups = Map.groupBy(sumUsageOfDay(ledger, day), ({ group }) => group);
    return [...groups].map(([group, parts]) => ({
      day,
      group,
      dimension: 'model',
      value: ERASED_MODEL,
      sums: packSums(addSums(parts.map(({ sums }) => unpackSums(sums)))),
    }));
  });
  return {
    since: 0,
    seq: ledger.rollups.lastChangeNumber,
    rows,
    whole: [...days].map((day) => ({ day, dimension: 'model' })),
  };
}

/** @returns the change with which a report ends. */
function findLastChangeToReport(ledger: Ledger, since: number, from: number): number {
  const changes = ledger.readAllRows<{ seq: number; rows: number }>(
    `select seq, count(*) as rows from (
       select seq from rollups where day >= ?1 and seq > ?2 union all select seq from dimensions where day >= ?1 and seq > ?2
     ) group by seq order by seq`,
    from,
    since,
  );
  let rows = 0;
  for (const change of changes) {
    rows += change.rows;
    if (rows >= ROWS_A_REPORT) return change.seq;
  }
  return ledger.rollups.lastChangeNumber;
}

function listUnfoldedDays(ledger: Ledger): number[] {
  const query = `select distinct at / ${DAY_MS} as day from ledger where ${UNFOLDED}`;
  return ledger.readAllRows<{ day: number }>(query, ledger.lastFoldedRowId).map(({ day }) => day);
}

/**
 * Sums up the cost of the requests of one day, with a row for each group and model. Erased requests are not included, because
 * their cost was reported separately.
 */
function sumUsageOfDay(ledger: Ledger, day: number): UsageSumsReportRow[] {
  const createUnfoldedSql = (more: string) =>
    `select ${ROLLUP_MODEL} as value, coalesce(pool_group, '${NO_GROUP}') as pool_group, 1 as requests, ${SUMMED_COLUMNS.join(', ')}
     from ledger where id > ?2 and status != 'held' and at >= ?1 * ${DAY_MS} and at < (?1 + 1) * ${DAY_MS} ${more}`;
  const querySumsOfDay = (folded: string, more: string) =>
    ledger.readAllRows<UsageSumsSqlRow & { value: string; pool_group: string }>(
      `select value, pool_group, ${SUMS_TOTALS_SQL} from (
         select model as value, ${folded} union all ${createUnfoldedSql(more)}
       ) where value != '${ERASED_MODEL}' group by value, pool_group`,
      day,
      ledger.lastFoldedRowId,
    );
  const columns = SUM_COLUMNS.join(', ');
  const sums: SumsByValueAndGroup = new Map();
  for (const row of querySumsOfDay(`'${NO_GROUP}' as pool_group, ${columns} from rollups where day = ?1`, '')) {
    const before = sums.get(row.value)?.all;
    sums.set(row.value, { all: addSums(before ? [before, row] : [row]), groups: new Map() });
  }
  for (const row of querySumsOfDay(
    `pool_group, ${columns} from group_rollups where day = ?1`,
    'and pool_group is not null',
  )) {
    sums.get(row.value)?.groups.set(row.pool_group, row);
  }
  return [...sums.keys()].flatMap((value) =>
    toReportRows(sums, { day, dimension: 'model', value }).filter(hasNonZeroSums),
  );
}

/** Adds the changed sums of tokens, users and tags to a report. */
function addDimensionSumsToReport(
  ledger: Ledger,
  report: UsageSumsReport,
  changed: readonly Pick<DimensionSum, 'day' | 'dimension' | 'value'>[],
  unfolded: readonly DimensionSum[],
): void {
  const plugins = new RollupValueLimiter(ledger);
  const placed = unfolded.map((sum) => ({ ...sum, value: plugins.chooseStoredValue(sum) }));
  const places = Map.groupBy([...changed, ...placed], ({ day, dimension }) => `${day} ${dimension}`);
  for (const [first, ...others] of places.values()) {
    if (!first) continue;
    const { day, dimension } = first;
    const sums = sumByValueAndGroup(
      ledger,
      first,
      placed.filter((sum) => sum.day === day && sum.dimension === dimension),
    );
    const values = new Set([first, ...others].map(({ value }) => value));
    const isWhole = values.has(OTHER_VALUE);
    const rows = [...(isWhole ? sums.keys() : values)].flatMap((value) =>
      toReportRows(sums, { day, dimension, value }),
    );
    if (isWhole) report.whole.push({ day, dimension });
    report.rows.push(...(isWhole ? rows.filter(hasNonZeroSums) : rows));
  }
}

function sumByValueAndGroup(
  ledger: Ledger,
  { day, dimension }: Pick<DimensionSum, 'day' | 'dimension'>,
  unfolded: readonly DimensionSum[],
): SumsByValueAndGroup {
  const sums: SumsByValueAndGroup = new Map();
  const addSumsToGroup = (value: string, group: string, more: UsageSums, isOfAll: boolean) => {
    const sum = sums.get(value) ?? { all: addSums([]), groups: new Map() };
    sums.set(value, sum);
    if (isOfAll) sum.all = addSums([sum.all, more]);
    if (group !== NO_GROUP) sum.groups.set(group, addSums([sum.groups.get(group) ?? addSums([]), more]));
  };
  const queryFoldedSums = (table: string, group: string) =>
    ledger.readAllRows<UsageSumsSqlRow & { value: string; pool_group: string }>(
      `select value, ${group} as pool_group, ${SUM_COLUMNS.join(', ')} from ${table} where day = ? and dimension = ?`,
      day,
      dimension,
    );
  for (const row of queryFoldedSums('dimensions', `'${NO_GROUP}'`)) addSumsToGroup(row.value, NO_GROUP, row, true);
  for (const row of queryFoldedSums('group_dimensions', 'pool_group'))
    addSumsToGroup(row.value, row.pool_group, row, false);
  for (const { value, group, sums: more } of unfolded) addSumsToGroup(value, group, more, true);
  return sums;
}

/** @returns the rows of one value: one for each group, and one for requests that no group has paid for. */
function toReportRows(
  sums: SumsByValueAndGroup,
  of: Pick<UsageSumsReportRow, 'day' | 'dimension' | 'value'>,
): UsageSumsReportRow[] {
  const { all, groups } = sums.get(of.value) ?? { all: addSums([]), groups: new Map<string, UsageSums>() };
  const paid = [...groups, [NO_GROUP, subtractSums(all, groups.values())] as const];
  return paid.map(([group, own]) => ({ ...of, group, sums: packSums(own) }));
}

function hasNonZeroSums({ sums }: UsageSumsReportRow): boolean {
  return sums.some((value) => value !== 0);
}
