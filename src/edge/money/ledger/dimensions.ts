/**
 * Keeps rollups by token, upstream, and what requests are about: a row for each day and value. They are written when rows are
 * folded, so that they cost no single request anything. What a group pays for has a row of its own in addition.
 *
 * A day has rows for at most 200 values of a dimension; all other values share one row. A request with several tags counts in
 * each of them, so all requests with any tag have a row of their own, with an empty value.
 */

import {
  ADD_SUMS,
  ANY_VALUE,
  addSums,
  SUM_COLUMNS,
  USED_IN_ALL,
  type UsageSums,
} from '../../claude/pricing/usage-sums.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { Rows } from '../../kit/objects/rows.ts';
import type { Tables } from '../../kit/objects/tables.ts';
import { ofRooms } from '../../kit/rooms/rooms.ts';
import { summedBy } from '../contracts/about.ts';

/** The value of the row that all other values share. */
export const OTHER_VALUE = '(other)';
/** Replaces a group's name, for requests that no group pays for. */
export const NO_GROUP = '';

/** How many values of a dimension a day has rows for. */
const VALUES_A_DAY = 200;

type LedgerGroup = Record<string, SqlStorageValue> & UsageSums & { day: number; pool_group: string };

/** What of a row is summed by, in SQL. */
const selected = ofRooms(() => {
  const cells = summedBy().map(({ sql }, at) => ({ as: `by_${at}`, sql }));
  return {
    cells: cells.map(({ as, sql }) => `${sql} as ${as}`).join(', '),
    any: `coalesce(${cells.map(({ sql }) => sql).join(', ')})`,
    // By their numbers among what is selected.
    grouped: ['day', 'pool_group', ...cells].map((_, at) => at + 1).join(', '),
  };
});

/** What the requests of a day with the same value have used, and the group that paid for them. */
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
 * @param where chooses the rows, by one binding
 * @param seq the number of this change
 */
export function rollUpDimensions(tables: Tables, where: string, sign: 1 | -1, binding: string, seq: number): void {
  const rooms = new Rooms(tables);
  const placed = dimensionSums(tables, where, binding).map((sum) => ({ ...sum, value: rooms.valueFor(sum, sign) }));
  // Thousands of values may share the row of the others.
  for (const alike of Map.groupBy(placed, keyOfSum).values()) {
    const [sum] = alike;
    if (sum) add(tables, { ...sum, sums: addSums(alike.map(({ sums }) => sums)) }, sign, seq);
  }
}

function keyOfSum({ day, dimension, value, group }: Omit<DimensionSum, 'sums'>): string {
  return JSON.stringify([day, dimension, value, group]);
}

/**
 * Sums up rows of the ledger by day, dimension, value and group.
 *
 * @param where chooses the rows, by these bindings
 */
export function dimensionSums(tables: Tables, where: string, ...bindings: SqlStorageValue[]): DimensionSum[] {
  const { cells, any, grouped } = selected();
  const rows = tables.read<LedgerGroup>(
    `select at / ${DAY_MS} as day, coalesce(pool_group, '${NO_GROUP}') as pool_group, ${cells},
       count(*) as requests, ${USED_IN_ALL}
     from ledger where ${where} and ${any} is not null
     group by ${grouped}`,
    ...bindings,
  );
  const groups = new Map<string, DimensionSum>();
  const count = (row: LedgerGroup, dimension: string, value: string) => {
    const { day, pool_group: group } = row;
    const key = keyOfSum({ day, dimension, value, group });
    const before = groups.get(key)?.sums;
    groups.set(key, { day, dimension, value, group, sums: addSums(before ? [before, row] : [row]) });
  };
  for (const row of rows) {
    for (const [at, { group, valuesIn }] of summedBy().entries()) {
      const cell = row[`by_${at}`];
      if (typeof cell === 'string') for (const value of valuesIn(cell)) count(row, group, value);
    }
  }
  return [...groups.values()];
}

/** Keeps which values have a row of their own, and how many more may get one. */
export class Rooms extends Rows {
  readonly #rooms = new Map<string, { known: Set<string>; values: number }>();

  /** @returns the value under which a sum is kept. A subtraction uses the same value as the addition before. */
  valueFor({ day, dimension, value }: Omit<DimensionSum, 'sums'>, sign: 1 | -1 = 1): string {
    const key = `${day} ${dimension}`;
    const room = this.#rooms.get(key) ?? this.#read(day, dimension);
    this.#rooms.set(key, room);
    if (value === ANY_VALUE || room.known.has(value)) return value;
    if (sign < 0 || room.values >= VALUES_A_DAY) return OTHER_VALUE;
    room.known.add(value);
    room.values += 1;
    return value;
  }

  #read(day: number, dimension: string): { known: Set<string>; values: number } {
    const rows = this.tables.read<{ value: string }>(
      'select value from dimensions where day = ? and dimension = ?',
      day,
      dimension,
    );
    const known = new Set(rows.map(({ value }) => value));
    return { known, values: rows.filter(({ value }) => value !== ANY_VALUE && value !== OTHER_VALUE).length };
  }
}

function add(tables: Tables, { day, dimension, value, group, sums }: DimensionSum, sign: 1 | -1, seq: number): void {
  const numbers = SUM_COLUMNS.map((column) => sign * sums[column]);
  const marks = SUM_COLUMNS.map(() => '?').join(', ');
  tables.write(
    `insert into dimensions (day, dimension, value, seq, ${SUM_COLUMNS.join(', ')}) values (?, ?, ?, ?, ${marks})
     on conflict (day, dimension, value) do update set seq = excluded.seq, ${ADD_SUMS}`,
    ...[day, dimension, value, seq, ...numbers],
  );
  if (group === NO_GROUP) return;
  tables.write(
    `insert into group_dimensions (day, dimension, value, pool_group, ${SUM_COLUMNS.join(', ')})
     values (?, ?, ?, ?, ${marks}) on conflict (day, dimension, value, pool_group) do update set ${ADD_SUMS}`,
    ...[day, dimension, value, group, ...numbers],
  );
}
