/** One step that brings an object's tables to a version. */
export interface Migration {
  version: number;
  sql: string;
}

/**
 * Brings an object's tables to the newest version; does nothing where they have it already.
 *
 * The version stands in a table, since `PRAGMA user_version` is not available. Each step runs in the constructor, before
 * any request, and is stored with its version as one.
 *
 * @param meta what `readMeta` has returned
 */
export function migrate(
  storage: DurableObjectStorage,
  migrations: readonly Migration[],
  meta = readMeta(storage.sql),
): void {
  const { sql } = storage;
  const current = Number(meta.get('schema_version') ?? 0);
  for (const { version, sql: step } of migrations) {
    if (version <= current) continue;
    storage.transactionSync(() => {
      sql.exec('create table if not exists meta (key text primary key, value text not null) strict, without rowid');
      sql.exec(step);
      sql.exec("insert or replace into meta (key, value) values ('schema_version', ?)", String(version));
    });
  }
}

/**
 * Reads the table `meta`. Looks first whether it exists: to create it would leave an object that nobody has written to
 * with something to bill.
 *
 * @returns its values by their keys; empty where there is no such table
 */
export function readMeta(sql: SqlStorage): Map<string, string> {
  const [found] = sql.exec("select 1 from sqlite_master where type = 'table' and name = 'meta'").toArray();
  const rows = found ? sql.exec('select key, value from meta').toArray() : [];
  return new Map(rows.map(({ key, value }) => [String(key), String(value)]));
}
