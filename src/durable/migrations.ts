import { getOrMake } from '../cache/get-or-make.ts';

/** One step that brings an object's tables to a version. */
export interface Migration {
  version: number;
  sql: string;
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
    const all = getOrMake(stepsAtOnce, newest, () => joinedSteps(migrations.map((step) => step.sql)));
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

/** Brings an object's tables to the newest version. @returns the values of the table `meta` after that, by key */
export function migratedMeta(storage: DurableObjectStorage, migrations: readonly Migration[]): Map<string, string> {
  const meta = readMeta(storage.sql);
  migrate(storage, migrations, meta);
  // A step may have written to this table.
  return meta.get('schema_version') === String(migrations.at(-1)?.version) ? meta : readMeta(storage.sql);
}

/** The steps of a schema as one, by the last of them. */
const stepsAtOnce = new WeakMap<Migration, string>();

/** Matches a step that adds a column: the table's name, and the column. */
const ADDED_COLUMN = /^alter table (\w+) add column (.+)$/s;
/** Matches a statement that makes a table: its name, its columns, and the rest. */
const MADE_TABLE = /^(create table (\w+) \(.+?)(,\s*primary key \(.+|\s*\) strict.*)$/s;

/**
 * @returns all steps as one, which makes each table with all of its columns. (Adding a column takes as long as making
 * several.)
 */
function joinedSteps(steps: readonly string[]): string {
  const statements: string[] = [];
  const places = new Map<string, number>();
  for (const statement of steps.flatMap((sql) => sql.split(';')).map((part) => part.trim())) {
    const [, table = '', column] = ADDED_COLUMN.exec(statement) ?? [];
    const place = places.get(table);
    const made = place === undefined ? null : MADE_TABLE.exec(statements[place] ?? '');
    if (place !== undefined && made) {
      statements[place] = `${made[1]}, ${column}${made[3]}`;
      continue;
    }
    const name = MADE_TABLE.exec(statement)?.[2];
    if (name !== undefined) places.set(name, statements.length);
    statements.push(statement);
  }
  return statements.filter((statement) => statement !== '').join(';');
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
