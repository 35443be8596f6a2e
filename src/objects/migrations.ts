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
 */
export function migrate(storage: DurableObjectStorage, migrations: readonly Migration[]): void {
  const { sql } = storage;
  const current = versionOf(sql);
  for (const { version, sql: step } of migrations) {
    if (version <= current) continue;
    storage.transactionSync(() => {
      sql.exec('create table if not exists meta (key text primary key, value text not null) strict, without rowid');
      sql.exec(step);
      sql.exec("insert or replace into meta (key, value) values ('schema_version', ?)", String(version));
    });
  }
}

/** @returns the newest version that is there; 0 where nothing is. (Only to ask for a table begins no transaction.) */
function versionOf(sql: SqlStorage): number {
  const [found] = sql.exec("select 1 from sqlite_master where type = 'table' and name = 'meta'").toArray();
  const [row] = found ? sql.exec("select value from meta where key = 'schema_version'").toArray() : [];
  return Number(row?.value ?? 0);
}
