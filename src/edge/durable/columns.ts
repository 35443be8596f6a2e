/** Turns members of objects into columns of rows, and back: `beganAt` is the column `began_at`. */

import { getOrCreate } from '../kit/cache/get-or-create.ts';

/** A row as SQLite gives it. */
export type SqliteRow = Record<string, SqlStorageValue>;

/** @returns the columns of an object's members. A member that is an object is stored as JSON. */
export function toColumns(members: object): SqliteRow {
  const columns: SqliteRow = {};
  for (const [member, value] of Object.entries(members)) {
    const stored = value !== null && typeof value === 'object' ? JSON.stringify(value) : value;
    columns[columnName(member)] = typeof stored === 'boolean' ? Number(stored) : stored;
  }
  return columns;
}

/**
 * Names the values of a row as members of an object. As with `sql.exec<Row>`, the caller states the type: SQLite returns no types,
 * and the columns are those of the table's own `create table`.
 */
export function toMembers<Members extends object>(row: SqliteRow): Members {
  const named: SqliteRow = {};
  for (const [name, value] of Object.entries(row)) named[memberName(name)] = value;
  return named as object as Members;
}

/** @returns a function that computes each name only once, because rows with many columns are written often. */
function memoizeNameConversion(spell: (name: string) => string): (name: string) => string {
  const members = new Map<string, string>();
  return (name) => getOrCreate(members, name, () => spell(name));
}

const columnName = memoizeNameConversion((name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
const memberName = memoizeNameConversion((name) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()));
