/** Makes an object's tables when it first has something to write. */

const META_TABLE = 'create table meta (key text primary key, value text not null) strict, without rowid';

/** Makes an object's tables, and the table `meta`. @param tables the statements that make them */
export function createTables(storage: DurableObjectStorage, tables: string): void {
  storage.transactionSync(() => storage.sql.exec(`${META_TABLE};${tables}`));
}

/** @returns what makes an object's tables with the first write; undefined if it has them. A question alone makes none */
export function createDeferredTableCreator(storage: DurableObjectStorage, tables: string): (() => void) | undefined {
  return hasTables(storage.sql) ? undefined : () => createTables(storage, tables);
}

/** @returns the values of the table `meta` by key; undefined if the object has no tables yet */
export function readMetaTable(sql: SqlStorage): Map<string, string> | undefined {
  if (!hasTables(sql)) return undefined;
  const rows = sql.exec('select key, value from meta').toArray();
  return new Map(rows.map(({ key, value }) => [String(key), String(value)]));
}

/** @returns whether an object has its tables. An object that was only asked has none: they would cost money */
function hasTables(sql: SqlStorage): boolean {
  return sql.exec("select 1 from sqlite_master where name = 'meta' limit 1").toArray().length > 0;
}
