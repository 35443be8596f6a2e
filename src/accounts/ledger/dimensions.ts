/**
 * Rollups by token, user and tag: a row for each day and value, written when rows are folded, so that no request pays for
 * them by itself.
 *
 * A day has at most 200 values of a dimension; all others share one row. A request with several tags counts in each of
 * them, so the requests with any tag have a row of their own, under an empty value.
 */

import { DAY_MS } from '../../async/durations.ts';
import type { Tables } from '../../durable/tables.ts';
import { SUMS } from './tables.ts';

/** What requests are summed up by, beside their models. */
export const DIMENSIONS = ['token', 'user', 'tag'] as const;

export type Dimension = (typeof DIMENSIONS)[number];

/** The value of the row that all values share for which a day has no room. */
export const OTHER_VALUE = '(other)';
/** The value of the row of requests with any tag. */
export const TAGGED = '';

/** How many values of a dimension a day has rows for. */
const VALUES_A_DAY = 200;

type DimensionSums = Record<'requests' | (typeof SUMS)[number], number>;
type LedgerGroup = Record<string, SqlStorageValue> &
  DimensionSums & { day: number; token: string | null; user: string | null; tags: string | null };

interface DimensionGroup {
  day: number;
  dimension: Dimension;
  value: string;
  sums: DimensionSums;
}

const COLUMNS = ['requests', ...SUMS] as const;

/**
 * Adds rows of the ledger to the rollups, or takes them out.
 *
 * @param where chooses the rows, by one binding
 * @param seq the number of this change
 */
export function rollUpDimensions(tables: Tables, where: string, sign: 1 | -1, binding: string, seq: number): void {
  const rows = tables.read<LedgerGroup>(
    `select at / ${DAY_MS} as day, token, user, tags, count(*) as requests,
       ${SUMS.map((column) => `sum(${column}) as ${column}`).join(', ')}
     from ledger where ${where} and (token is not null or user is not null or tags is not null) group by 1, 2, 3, 4`,
    binding,
  );
  const rooms = new Map<string, { known: Set<string>; values: number }>();
  for (const group of groupsOf(rows)) {
    const place = `${group.day} ${group.dimension}`;
    const room = rooms.get(place) ?? roomOf(tables, group);
    rooms.set(place, room);
    add(tables, { ...group, value: valueIn(room, group.value, sign) }, sign, seq);
  }
}

function groupsOf(rows: readonly LedgerGroup[]): DimensionGroup[] {
  const groups = new Map<string, DimensionGroup>();
  const count = (row: LedgerGroup, dimension: Dimension, value: string) => {
    const key = `${row.day} ${dimension} ${value}`;
    const before = groups.get(key)?.sums;
    const sums = Object.fromEntries(
      COLUMNS.map((column) => [column, row[column] + (before?.[column] ?? 0)]),
    ) as DimensionSums;
    groups.set(key, { day: row.day, dimension, value, sums });
  };
  for (const row of rows) {
    if (row.token !== null) count(row, 'token', row.token);
    if (row.user !== null) count(row, 'user', row.user);
    if (row.tags !== null) for (const tag of [TAGGED, ...row.tags.split(',')]) count(row, 'tag', tag);
  }
  return [...groups.values()];
}

function roomOf(tables: Tables, { day, dimension }: DimensionGroup): { known: Set<string>; values: number } {
  const rows = tables.read<{ value: string }>(
    'select value from dimensions where day = ? and dimension = ?',
    day,
    dimension,
  );
  const known = new Set(rows.map(({ value }) => value));
  return { known, values: rows.filter(({ value }) => value !== TAGGED && value !== OTHER_VALUE).length };
}

/** @returns under which value a row is kept; what is taken out is taken from where it was put. */
function valueIn(room: { known: Set<string>; values: number }, value: string, sign: 1 | -1): string {
  if (value === TAGGED || room.known.has(value)) return value;
  if (sign < 0 || room.values >= VALUES_A_DAY) return OTHER_VALUE;
  room.known.add(value);
  room.values += 1;
  return value;
}

function add(tables: Tables, { day, dimension, value, sums }: DimensionGroup, sign: 1 | -1, seq: number): void {
  tables.write(
    `insert into dimensions (day, dimension, value, seq, ${COLUMNS.join(', ')})
     values (?, ?, ?, ?, ${COLUMNS.map(() => '?').join(', ')})
     on conflict (day, dimension, value) do update set seq = excluded.seq,
       ${COLUMNS.map((column) => `${column} = ${column} + excluded.${column}`).join(', ')}`,
    ...[day, dimension, value, seq, ...COLUMNS.map((column) => sign * sums[column])],
  );
}
