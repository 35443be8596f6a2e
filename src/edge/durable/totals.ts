/**
 * Keeps the numbers of rows, and the sums of their bytes, in the table `totals`, so that no request has to read all rows. Triggers
 * update them in the statement that changes a row. (`insert or replace` fires none for the replaced row, so do not use it.)
 */
export const TOTALS_SQL = `
  create table totals (
    name text primary key,
    count integer not null,
    bytes integer not null
  ) strict, without rowid;`;

/** The totals of a table, or of some of its rows. */
export interface Totals {
  /** How many rows there are. */
  count: number;
  /** The sum of their bytes; 0 for rows that have no bytes. */
  bytes: number;
}

/** A stored row: as SQLite names it before and after a change. */
type RowName = 'new' | 'old';

/**
 * @param name SQL for the name of the total to which a row belongs. Default: the table's name
 * @param bytes SQL for the bytes of a row. Default: none
 * @returns the statements that keep the totals of a table
 */
export function createTotalsTriggers(
  table: string,
  { name = () => `'${table}'`, bytes }: { name?: (row: RowName) => string; bytes?: (row: RowName) => string } = {},
): string {
  const bytesOf = (row: RowName) => bytes?.(row) ?? '0';
  const change = `update totals set bytes = bytes + ${bytesOf('new')} - ${bytesOf('old')} where name = ${name('new')};`;
  return `
    create trigger if not exists ${table}_inserted after insert on ${table} begin
      insert into totals values (${name('new')}, 1, ${bytesOf('new')})
      on conflict (name) do update set count = count + 1, bytes = bytes + excluded.bytes;
    end;
    create trigger if not exists ${table}_deleted after delete on ${table} begin
      update totals set count = count - 1, bytes = bytes - ${bytesOf('old')} where name = ${name('old')};
    end;
    ${bytes ? `create trigger if not exists ${table}_updated after update on ${table} when ${bytesOf('new')} != ${bytesOf('old')} begin ${change} end;` : ''}`;
}
