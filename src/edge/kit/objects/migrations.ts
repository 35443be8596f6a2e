/** One step that brings an object's tables to a version. */
export interface Migration {
  version: number;
  sql: string;
  /** Whether the first step makes all of it in a new object, so that only older objects take this one. */
  isInFirst?: boolean;
}

const META_TABLE = 'create table if not exists meta (key text primary key, value text not null) strict, without rowid';

/**
 * Brings an object's tables to the newest version. Does nothing if they have it already.
 *
 * The version is in a table, since `PRAGMA user_version` is not available. Each step runs in the constructor, before any
 * request, and is stored together with its version. If there are no tables yet, all steps are done as one.
 *
 * @param meta what `readMeta` has returned
 */
export function migrate(
  storage: DurableObjectStorage,
  migrations: readonly Migration[],
  meta = readMeta(storage.sql),
): void {
  const { sql } = storage;
  const newest = migrations.at(-1);
  if (meta.size === 0 && newest) {
    const all = migrations.flatMap((step) => (step.isInFirst ? [] : step.sql)).join(';');
    const version = `insert into meta (key, value) values ('schema_version', '${newest.version}')`;
    storage.transactionSync(() => sql.exec(`${META_TABLE};${all};${version}`));
    return;
  }
  const current = Number(meta.get('schema_version') ?? 0);
  for (const { version, sql: step } of migrations) {
    if (version <= current) continue;
    storage.transactionSync(() => {
      sql.exec(META_TABLE);
      sql.exec(step);
      sql.exec("insert or replace into meta (key, value) values ('schema_version', ?)", String(version));
    });
  }
}

/**
 * Brings an object's tables to the newest version, if it has tables.
 *
 * @returns the values of the table `meta` after that, by key; empty if there are no tables
 */
export function migratedMeta(storage: DurableObjectStorage, migrations: readonly Migration[]): Map<string, string> {
  const meta = readMeta(storage.sql);
  if (meta.size === 0) return meta;
  migrate(storage, migrations, meta);
  // A step may have written to this table.
  return meta.get('schema_version') === String(migrations.at(-1)?.version) ? meta : readMeta(storage.sql);
}

/**
 * Brings an object's tables to the newest version, if it has tables.
 *
 * @returns what makes them otherwise, for the first write: a question alone makes none
 */
export function makeOnWrite(storage: DurableObjectStorage, migrations: readonly Migration[]): (() => void) | undefined {
  const meta = migratedMeta(storage, migrations);
  return meta.size === 0 ? () => migrate(storage, migrations, meta) : undefined;
}

/**
 * Reads the table `meta`, if it exists. It does not create the table, because then an object that nobody has written to would
 * cost money.
 *
 * @returns its values by key; empty if there is no such table
 */
export function readMeta(sql: SqlStorage): Map<string, string> {
  const [found] = sql.exec("select 1 from sqlite_master where name = 'meta' limit 1").toArray();
  const rows = found ? sql.exec('select key, value from meta').toArray() : [];
  return new Map(rows.map(({ key, value }) => [String(key), String(value)]));
}
