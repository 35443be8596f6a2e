/** Moves an object's tables forward, one version at a time. */
export interface Migration {
  version: number;
  sql: string;
}

/**
 * Brings the schema to the newest version; does nothing where it is there already.
 *
 * The version stands in a table, since `PRAGMA user_version` is not available. Each step runs in the constructor, before
 * any request, and is stored with its version as one.
 *
 * @param meta what `readMeta` has found
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
 * @returns what an object keeps by keys; nothing where nobody has written to it. (To ask for a table begins no transaction,
 * and leaves no trace, as making one would.)
 */
export function readMeta(sql: SqlStorage): Map<string, string> {
  const [found] = sql.exec("select 1 from sqlite_master where type = 'table' and name = 'meta'").toArray();
  const rows = found ? sql.exec('select key, value from meta').toArray() : [];
  return new Map(rows.map(({ key, value }) => [String(key), String(value)]));
}
