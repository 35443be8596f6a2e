/**
 * Keeps rollups by token, upstream, and what requests are about: a row for each day and value. They are written when rows are
 * folded, so that they cost no single request anything. Requests for which a group pays have an additional row.
 *
 * A day has rows for at most 200 values of a dimension; all other values share one row. A request with several tags counts in
 * each of them, so all requests with any tag have a row of their own, with an empty value.
 */
import {
  ADD_SUMS_SQL,
  ANY_VALUE,
  addSums,
  type OUTCOME_COLUMNS,
  SUM_COLUMNS,
  SUMMED_COLUMNS,
  SUMS_TOTALS_SQL,
  USED_TOTALS_SQL,
  type UsageSums,
} from '../../claude/pricing/usage-sums.ts';
import { TableRowsBase } from '../../durable/rows.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { memoizeFromPlugins } from '../../kit/plugins/plugins.ts';
import { groupings } from '../contracts/dimensions.ts';
import { ERASED_MODEL, IMPORTED_MODEL, ROLLUP_MODEL } from './tables.ts';

/** The value of the row that all other values share. */
export const OTHER_VALUE = '(other)';
/** Replaces a group's name, for requests that no group pays for. */
export const NO_GROUP = '';

/** How many values of a dimension a day has rows for. */
const MAX_VALUES_PER_DAY = 200;

type LedgerGroupSqlRow = Record<string, SqlStorageValue> & UsageSums & { day: number; pool_group: string };

/** The columns by which rows are grouped, in SQL. */
const selected = memoizeFromPlugins(() => {
  const cells = groupings().map(({ sql }, at) => ({ as: `by_${at}`, sql }));
  return {
    cells: cells.map(({ as, sql }) => `${sql} as ${as}`).join(', '),
    any: `coalesce(${cells.map(({ sql }) => sql).join(', ')})`,
    // In SQL, `group by 1, 2` refers to the selected columns by position, so these are the positions of all grouping columns.
    grouped: ['day', 'pool_group', ...cells].map((_, at) => at + 1).join(', '),
  };
});

/** The usage of a day's requests with the same value, and the group that paid for them. */
export interface DimensionSum {
  day: number;
  dimension: string;
  value: string;
  group: string;
  sums: UsageSums;
}

/**
 * Adds rows of the ledger to the rollups, or subtracts them.
 *
 * @param condition chooses the rows, by one binding
 * @param seq the number of this change
 */
function addRowsToDimensionRollups(
  tables: SqlTables,
  condition: string,
  sign: 1 | -1,
  binding: string,
  seq: number,
): void {
  const listed = new RollupValueLimiter(tables);
  const placed = sumRowsByDimension(tables, condition, binding).map((sum) => ({
    ...sum,
    value: listed.chooseStoredValue(sum, sign),
  }));
  // Add up the sums of each target row first, because thousands of values may share the row `(other)`, and each write of a row
  // is billed.
  for (const alike of Map.groupBy(placed, toDimensionSumKey).values()) {
    const [sum] = alike;
    if (sum) addSumToRollup(tables, { ...sum, sums: addSums(alike.map(({ sums }) => sums)) }, sign, seq);
  }
}

function toDimensionSumKey({ day, dimension, value, group }: Omit<DimensionSum, 'sums'>): string {
  return JSON.stringify([day, dimension, value, group]);
}

/**
 * Sums up rows of the ledger by day, dimension, value and group.
 *
 * @param condition chooses the rows, by these bindings
 */
export function sumRowsByDimension(
  tables: SqlTables,
  condition: string,
  ...bindings: SqlStorageValue[]
): DimensionSum[] {
  const { cells, any, grouped } = selected();
  const rows = tables.readAllRows<LedgerGroupSqlRow>(
    `select at / ${DAY_MS} as day, coalesce(pool_group, '${NO_GROUP}') as pool_group, ${cells},
       count(*) as requests, ${USED_TOTALS_SQL}
     from ledger where ${condition} and ${any} is not null
     group by ${grouped}`,
    ...bindings,
  );
  const groups = new Map<string, DimensionSum>();
  const addToDimensionSum = (row: LedgerGroupSqlRow, dimension: string, value: string, sums: UsageSums = row) => {
    const { day, pool_group: group } = row;
    const key = toDimensionSumKey({ day, dimension, value, group });
    const before = groups.get(key)?.sums;
    groups.set(key, { day, dimension, value, group, sums: addSums(before ? [before, sums] : [sums]) });
  };
  for (const row of rows) {
    for (const [at, { group, countsFailures, parseGroupValues: valuesIn }] of groupings().entries()) {
      const cell = row[`by_${at}`];
      const sums = countsFailures ? { ...addSums([]), failed: row.requests } : row;
      if (typeof cell === 'string') for (const value of valuesIn(cell)) addToDimensionSum(row, group, value, sums);
    }
  }
  return [...groups.values()];
}

/** Keeps which values have a row of their own, and how many more may get one. */
export class RollupValueLimiter extends TableRowsBase {
  readonly #days = new Map<string, { known: Set<string>; values: number }>();

  /** @returns the value under which a sum is kept. A subtraction uses the same value as the addition before. */
  chooseStoredValue({ day, dimension, value }: Omit<DimensionSum, 'sums'>, sign: 1 | -1 = 1): string {
    const key = `${day} ${dimension}`;
    const listed = this.#days.get(key) ?? this.#readKnownValues(day, dimension);
    this.#days.set(key, listed);
    if (value === ANY_VALUE || listed.known.has(value)) return value;
    if (sign < 0 || listed.values >= MAX_VALUES_PER_DAY) return OTHER_VALUE;
    listed.known.add(value);
    listed.values += 1;
    return value;
  }

  #readKnownValues(day: number, dimension: string): { known: Set<string>; values: number } {
    const rows = this.tables.readAllRows<{ value: string }>(
      'select value from dimensions where day = ? and dimension = ?',
      day,
      dimension,
    );
    const known = new Set(rows.map(({ value }) => value));
    return { known, values: rows.filter(({ value }) => value !== ANY_VALUE && value !== OTHER_VALUE).length };
  }
}

function addSumToRollup(
  tables: SqlTables,
  { day, dimension, value, group, sums }: DimensionSum,
  sign: 1 | -1,
  seq: number,
): void {
  const numbers = SUM_COLUMNS.map((column) => sign * sums[column]);
  const marks = SUM_COLUMNS.map(() => '?').join(', ');
  tables.runWriteStatement(
    `insert into dimensions (day, dimension, value, seq, ${SUM_COLUMNS.join(', ')}) values (?, ?, ?, ?, ${marks})
     on conflict (day, dimension, value) do update set seq = excluded.seq, ${ADD_SUMS_SQL}`,
    ...[day, dimension, value, seq, ...numbers],
  );
  if (group === NO_GROUP) return;
  tables.runWriteStatement(
    `insert into group_dimensions (day, dimension, value, pool_group, ${SUM_COLUMNS.join(', ')})
     values (?, ?, ?, ?, ${marks}) on conflict (day, dimension, value, pool_group) do update set ${ADD_SUMS_SQL}`,
    ...[day, dimension, value, group, ...numbers],
  );
}

const UPSERT = `on conflict (day, model) do update set ${ADD_SUMS_SQL}, seq = excluded.seq`;
const UPSERT_GROUP = `on conflict (pool_group, day, model) do update set ${ADD_SUMS_SQL}`;
const COLUMNS = SUM_COLUMNS.join(', ');
const PLACEHOLDERS = SUM_COLUMNS.map(() => '?').join(', ');

/** Keeps the sums of rows by day, model and group, and numbers their changes. */
export class Rollups extends TableRowsBase {
  /** The number of the last change of the rollups; undefined until it is first read. */
  #lastSeq: number | undefined;
  /** The first day whose rollups have changed since a change number; not known when the object wakes. */
  #changed = { since: Number.POSITIVE_INFINITY, day: 0 };
  readonly #atWake: number;

  /** @param atWake the number of the last change that was noted when the object woke */
  constructor(ledger: SqlTables, atWake: number) {
    super(ledger);
    this.#atWake = atWake;
  }

  /** @returns the number of the last change of the rollups. */
  get lastChangeNumber(): number {
    // The change number that the last fold stored may be out of date, because not every change of the daily totals stores it.
    // Take the larger of it and the highest number in the tables.
    this.#lastSeq ??= Math.max(
      this.#atWake,
      this.tables.queryNumberOrZero(
        'select max(seq) from (select max(seq) as seq from rollups union all select max(seq) from dimensions)',
      ),
    );
    return this.#lastSeq;
  }

  /**
   * @returns the first day (since 1970) whose rollups may have changed since a change number. Call it only once for each
   * number.
   */
  findFirstChangedDay(since: number): number {
    const day = this.#changed.since <= since ? this.#changed.day : 0;
    this.#changed = { since: this.lastChangeNumber, day: Number.MAX_SAFE_INTEGER };
    return day;
  }

  /** Numbers a change of the rollups of a day, and of later ones. */
  #assignChangeNumber(day: number): number {
    const seq = this.lastChangeNumber + 1;
    this.#lastSeq = seq;
    this.#changed.day = Math.min(this.#changed.day, day);
    return seq;
  }

  /**
   * Adds rows of the ledger to all sums, or subtracts them.
   *
   * @param condition chooses the rows, by one binding
   */
  addRows(condition: string, sign: 1 | -1, binding: string): void {
    const seq = this.#assignChangeNumber(
      this.tables.queryNumberOrZero(`select min(at) / ${DAY_MS} from ledger where ${condition}`, binding),
    );
    const sums = SUMMED_COLUMNS.map((column) => `${sign} * sum(${column})`).join(', ');
    const rolled = `at / ${DAY_MS} as day, ${ROLLUP_MODEL} as rolled`;
    this.tables.runWriteStatement(
      `insert into rollups (day, model, ${COLUMNS}, seq) select ${rolled}, ${sign} * count(*), ${sums}, ${seq}
       from ledger where ${condition} group by day, rolled ${UPSERT}`,
      binding,
    );
    this.tables.runWriteStatement(
      `insert into group_rollups (pool_group, day, model, ${COLUMNS}) select pool_group, ${rolled}, ${sign} * count(*), ${sums}
       from ledger where (${condition}) and pool_group is not null group by pool_group, day, rolled ${UPSERT_GROUP}`,
      binding,
    );
    addRowsToDimensionRollups(this.tables, condition, sign, binding, seq);
    this.tables.runWriteStatement(
      `update tokens set spent = spent + ${sign} * (select sum(cost) from ledger where ${condition} and token = jti)
       where limits is not null and jti in (select token from ledger where ${condition})`,
      binding,
      binding,
    );
  }

  /**
   * Deletes what the money was spent on. The totals stay, as a nameless row for each window that has begun. Otherwise an
   * erasure would give the account a new budget, and the sums would differ from the bill.
   *
   * @param starts when the windows began; milliseconds since 1970
   */
  mergeIntoNamelessRows(starts: readonly number[]): void {
    const days = [...new Set(starts.map((start) => Math.floor(start / DAY_MS)))].sort((left, right) => right - left);
    let before = Number.MAX_SAFE_INTEGER;
    const rows = days.map((day) => {
      const [row] = this.tables.readAllRows<UsageSums>(
        `select ${SUMS_TOTALS_SQL} from rollups where day >= ? and day < ? having count(*) > 0`,
        day,
        before,
      );
      before = day;
      return { day, row };
    });
    // Keep the daily sums of groups in the current windows: they are few, and the group's shared budget still needs them.
    const first = days.at(-1) ?? 0;
    this.tables.runInTransaction(() => {
      this.tables.runWriteStatement('delete from rollups');
      this.tables.runWriteStatement('delete from dimensions');
      this.tables.runWriteStatement('delete from group_dimensions');
      for (const { day, row } of rows) if (row && row.requests > 0) this.addErasedUsage(day, row);
      this.tables.runWriteStatement('delete from group_rollups where day < ?', first);
      const grouped = this.tables.readAllRows<{ pool_group: string; day: number } & UsageSums>(
        `select pool_group, day, ${SUMS_TOTALS_SQL} from group_rollups group by pool_group, day`,
      );
      this.tables.runWriteStatement('delete from group_rollups');
      for (const { pool_group, day, ...row } of grouped) this.addErasedUsageOfGroup(pool_group, day, row);
    });
  }

  /** Adds what requests of a group have used that were erased. */
  addErasedUsageOfGroup(group: string, day: number, sums: UsageSums): void {
    this.tables.runWriteStatement(
      `insert into group_rollups (pool_group, day, model, ${COLUMNS}) values (?, ?, ?, ${PLACEHOLDERS}) ${UPSERT_GROUP}`,
      group,
      day,
      ERASED_MODEL,
      ...SUM_COLUMNS.map((column) => sums[column]),
    );
  }

  /** Adds what was spent elsewhere on a day (days since 1970). It keeps its day, and is marked as imported. */
  addImportedUsage(day: number, spent: Omit<UsageSums, (typeof OUTCOME_COLUMNS)[number]>): void {
    this.#addSumsToDay(IMPORTED_MODEL, day, { ...addSums([]), ...spent });
  }

  /** Adds what requests have used that were erased. */
  addErasedUsage(day: number, sums: UsageSums): void {
    this.#addSumsToDay(ERASED_MODEL, day, sums);
  }

  #addSumsToDay(name: string, day: number, sums: UsageSums): void {
    this.tables.runWriteStatement(
      `insert into rollups (day, model, seq, ${COLUMNS}) values (?, ?, ?, ${PLACEHOLDERS}) ${UPSERT}`,
      day,
      name,
      this.#assignChangeNumber(day),
      ...SUM_COLUMNS.map((column) => sums[column]),
    );
  }
}
