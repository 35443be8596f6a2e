/** Stands in for the storage of a Durable Object: rows in SQLite, and one alarm. */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';

type Row = Record<string, SqlStorageValue>;

interface PreparedStatement {
  statement: StatementSync;
  /** Whether it answers with rows. */
  isRead: boolean;
  /** Its columns of bytes. */
  byteColumns: readonly string[];
  /** Whether its parameters are numbered, as `?1` is. */
  isNumbered: boolean;
}

/** The table of values by keys. The platform has one, too. */
const VALUES = 'stored_values';
const DROP_QUERY = /^\s*(drop|alter)\b/i;

/** What is written between two waits is stored as one: it is kept back until `commit`, and `rollback` takes it out again. */
export class SimulatedStorage {
  readonly #db = new DatabaseSync(':memory:');
  readonly #prepared = new Map<string, PreparedStatement>();
  /** Tables that are known to be there. */
  readonly #knownTables = new Set<string>();
  #alarm: number | null = null;
  /** The alarm's handler runs: its time is forgotten once it has ended well. */
  #isAlarmRunning = false;
  #stateBeforeStep: { alarm: number | null; handling: boolean } | undefined;
  /** Grows with each change that was stored. */
  changes = 0;

  exec(query: string, bindings: readonly SqlStorageValue[]): Cursor {
    const prepared = this.#prepare(query);
    if (!prepared || DROP_QUERY.test(query)) this.#knownTables.clear();
    if (!prepared) {
      this.#beginTransaction();
      this.#db.exec(query);
      return new Cursor([], 0);
    }
    const { statement, isRead: reads, byteColumns: bytes, isNumbered } = prepared;
    const values = bindings as SQLInputValue[];
    const named = isNumbered ? Object.fromEntries(values.map((value, index) => [`?${index + 1}`, value])) : undefined;
    if (reads) {
      const rows = (named ? statement.all(named) : statement.all(...values)) as Row[];
      for (const name of bytes) for (const row of rows) row[name] = toArrayBuffer(row[name]);
      return new Cursor(rows, 0);
    }
    this.#beginTransaction();
    const { changes } = named ? statement.run(named) : statement.run(...values);
    return new Cursor([], Number(changes));
  }

  get databaseSize(): number {
    const size = (name: string) => Number(Object.values(this.exec(`pragma ${name}`, []).one())[0]);
    return size('page_count') * size('page_size');
  }

  transactionSync<T>(work: () => T): T {
    this.#beginTransaction();
    this.#db.exec('savepoint part');
    try {
      const result = work();
      this.#db.exec('release part');
      return result;
    } catch (thrown) {
      this.#knownTables.clear();
      this.#db.exec('rollback to part; release part');
      throw thrown;
    }
  }

  /** Reads the value of a key, as JSON; undefined if the key is not stored. */
  getValue(key: string): string | undefined {
    if (!this.hasTable(VALUES)) return undefined;
    const [row] = this.exec(`select value from ${VALUES} where key = ?`, [key]).toArray();
    return row && String(row.value);
  }

  /** Sets the value of a key; undefined deletes it. */
  setValue(key: string, value: string | undefined): void {
    if (!this.hasTable(VALUES)) this.exec(`create table ${VALUES} (key text primary key, value text) strict`, []);
    if (value === undefined) this.exec(`delete from ${VALUES} where key = ?`, [key]);
    else this.exec(`insert or replace into ${VALUES} (key, value) values (?, ?)`, [key, value]);
  }

  get alarm(): number | null {
    return this.#isAlarmRunning ? null : this.#alarm;
  }

  set alarm(time: number | null) {
    this.#beginTransaction();
    this.#alarm = time;
    this.#isAlarmRunning = false;
  }

  /** When the alarm comes, or comes again if its handler dies now. */
  get armedAlarm(): number | null {
    return this.#alarm;
  }

  deleteAll(): void {
    this.#beginTransaction();
    this.#knownTables.clear();
    for (const table of this.#listTables()) this.#db.exec(`drop table "${table}"`);
    this.alarm = null;
  }

  /** @returns whether there is a table of this name */
  hasTable(table: string): boolean {
    if (this.#knownTables.has(table)) return true;
    if (!this.#listTables().includes(table)) return false;
    this.#knownTables.add(table);
    return true;
  }

  #listTables(): string[] {
    const tables = this.exec("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'", []);
    return tables.toArray().map(({ name }) => String(name));
  }

  /** The alarm's handler begins. */
  beginAlarm(): void {
    this.#isAlarmRunning = true;
  }

  /** The alarm's handler has ended. @param well or its alarm stays */
  endAlarm(well: boolean): void {
    if (!this.#isAlarmRunning) return;
    this.#isAlarmRunning = false;
    if (well) this.#alarm = null;
  }

  commit(): void {
    if (!this.#stateBeforeStep) return;
    this.#stateBeforeStep = undefined;
    this.changes += 1;
    this.#db.exec('commit');
  }

  rollback(): void {
    if (!this.#stateBeforeStep) return;
    this.#alarm = this.#stateBeforeStep.alarm;
    this.#isAlarmRunning = this.#stateBeforeStep.handling;
    this.#stateBeforeStep = undefined;
    this.#knownTables.clear();
    this.#db.exec('rollback');
  }

  /**
   * Empties its tables, so that another object can begin where the one before has made them: to make them anew takes
   * half of a schedule's time.
   *
   * @returns false where that one has deleted them: it is closed
   */
  clearTables(): boolean {
    const isMade = this.#listTables().includes('meta');
    if (!isMade) {
      this.#db.close();
      return false;
    }
    for (const table of this.#listTables()) this.exec(`delete from "${table}"`, []);
    this.alarm = null;
    this.commit();
    return true;
  }

  #beginTransaction(): void {
    if (this.#stateBeforeStep) return;
    this.#stateBeforeStep = { alarm: this.#alarm, handling: this.#isAlarmRunning };
    this.#db.exec('begin');
  }

  /** @returns undefined for several statements at once. */
  #prepare(query: string): PreparedStatement | undefined {
    const known = this.#prepared.get(query);
    if (known) return known;
    if (/;\s*\S/.test(query)) return undefined;
    const statement = this.#db.prepare(query);
    const columns = statement.columns();
    const bytes = columns.filter(({ type }) => type?.toLowerCase() === 'blob').map(({ name }) => name);
    const prepared = { statement, isRead: columns.length > 0, byteColumns: bytes, isNumbered: /\?\d/.test(query) };
    this.#prepared.set(query, prepared);
    return prepared;
  }
}

/** @returns bytes as the runtime gives them. */
function toArrayBuffer(value: unknown): ArrayBuffer | null {
  return value instanceof Uint8Array ? value.slice().buffer : null;
}

/** What a statement answers: read at once, and not as it is asked for. */
class Cursor {
  readonly rowsWritten: number;
  readonly #rows: Row[];

  constructor(rows: Row[], rowsWritten: number) {
    this.#rows = rows;
    this.rowsWritten = rowsWritten;
  }

  toArray(): Row[] {
    return this.#rows;
  }

  one(): Row {
    const [row] = this.#rows;
    if (!row || this.#rows.length > 1) throw new Error('Expected exactly one result from SQL query');
    return row;
  }

  *raw(): Generator<SqlStorageValue[]> {
    for (const row of this.#rows) yield Object.values(row);
  }

  *[Symbol.iterator](): Generator<Row> {
    yield* this.#rows;
  }
}
