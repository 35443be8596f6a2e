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
  sql.exec('create table if not exists meta (key text primary key, value text not null) strict, without rowid');
  const row = sql.exec("select value from meta where key = 'schema_version'").toArray()[0];
  const current = Number(row?.value ?? 0);
  for (const { version, sql: step } of migrations) {
    if (version <= current) continue;
    storage.transactionSync(() => {
      sql.exec(step);
      sql.exec("insert or replace into meta (key, value) values ('schema_version', ?)", String(version));
    });
  }
}
