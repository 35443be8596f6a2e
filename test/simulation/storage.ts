/** Stands in for the storage of a Durable Object: rows in SQLite, and one alarm. */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';

type Row = Record<string, SqlStorageValue>;

interface Prepared {
  statement: StatementSync;
  /** Whether it answers with rows. */
  reads: boolean;
  /** Its columns of bytes. */
  bytes: readonly string[];
  /** Whether its parameters are numbered, as `?1` is. */
  isNumbered: boolean;
}

const MAY_DROP = /^\s*(drop|alter)\b/i;

/** What is written between two waits is stored as one: it is kept back until `commit`, and `rollback` takes it out again. */
export class Storage {
  readonly #db = new DatabaseSync(':memory:');
  readonly #prepared = new Map<string, Prepared>();
  /** Tables that are known to be there. */
  readonly #there = new Set<string>();
  #alarm: number | null = null;
  /** The alarm's handler runs: its time is forgotten once it has ended well. */
  #handling = false;
  #before: { alarm: number | null; handling: boolean } | undefined;
  /** Grows with each change that was stored. */
  changes = 0;

  exec(query: string, bindings: readonly SqlStorageValue[]): Cursor {
    const prepared = this.#prepare(query);
    if (!prepared || MAY_DROP.test(query)) this.#there.clear();
    if (!prepared) {
      this.#begin();
      this.#db.exec(query);
      return new Cursor([], 0);
    }
    const { statement, reads, bytes, isNumbered } = prepared;
    const values = bindings as SQLInputValue[];
    const named = isNumbered ? Object.fromEntries(values.map((value, index) => [`?${index + 1}`, value])) : undefined;
    if (reads) {
      const rows = (named ? statement.all(named) : statement.all(...values)) as Row[];
      for (const name of bytes) for (const row of rows) row[name] = bufferOf(row[name]);
      return new Cursor(rows, 0);
    }
    this.#begin();
    const { changes } = named ? statement.run(named) : statement.run(...values);
    return new Cursor([], Number(changes));
  }

  get databaseSize(): number {
    const size = (name: string) => Number(Object.values(this.exec(`pragma ${name}`, []).one())[0]);
    return size('page_count') * size('page_size');
  }

  transactionSync<T>(work: () => T): T {
    this.#begin();
    this.#db.exec('savepoint part');
    try {
      const result = work();
      this.#db.exec('release part');
      return result;
    } catch (thrown) {
      this.#there.clear();
      this.#db.exec('rollback to part; release part');
      throw thrown;
    }
  }

  get alarm(): number | null {
    return this.#handling ? null : this.#alarm;
  }

  set alarm(time: number | null) {
    this.#begin();
    this.#alarm = time;
    this.#handling = false;
  }

  /** When the alarm comes, or comes again if its handler dies now. */
  get armed(): number | null {
    return this.#alarm;
  }

  deleteAll(): void {
    this.#begin();
    this.#there.clear();
    for (const table of this.#tables()) this.#db.exec(`drop table "${table}"`);
    this.alarm = null;
  }

  /** @returns whether there is a table of this name */
  has(table: string): boolean {
    if (this.#there.has(table)) return true;
    if (!this.#tables().includes(table)) return false;
    this.#there.add(table);
    return true;
  }

  #tables(): string[] {
    const tables = this.exec("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'", []);
    return tables.toArray().map(({ name }) => String(name));
  }

  /** The alarm's handler begins. */
  beginAlarm(): void {
    this.#handling = true;
  }

  /** The alarm's handler has ended. @param well or its alarm stays */
  endAlarm(well: boolean): void {
    if (!this.#handling) return;
    this.#handling = false;
    if (well) this.#alarm = null;
  }

  commit(): void {
    if (!this.#before) return;
    this.#before = undefined;
    this.changes += 1;
    this.#db.exec('commit');
  }

  rollback(): void {
    if (!this.#before) return;
    this.#alarm = this.#before.alarm;
    this.#handling = this.#before.handling;
    this.#before = undefined;
    this.#there.clear();
    this.#db.exec('rollback');
  }

  /**
   * Empties its tables, so that another object can begin where the one before has made them: to make them anew takes
   * half of a schedule's time.
   *
   * @returns false where that one has deleted them: it is closed
   */
  reset(): boolean {
    const isMade = this.#tables().includes('meta');
    if (!isMade) {
      this.#db.close();
      return false;
    }
    for (const table of this.#tables()) this.exec(`delete from "${table}"`, []);
    this.alarm = null;
    this.commit();
    return true;
  }

  #begin(): void {
    if (this.#before) return;
    this.#before = { alarm: this.#alarm, handling: this.#handling };
    this.#db.exec('begin');
  }

  /** @returns undefined for several statements at once. */
  #prepare(query: string): Prepared | undefined {
    const known = this.#prepared.get(query);
    if (known) return known;
    if (/;\s*\S/.test(query)) return undefined;
    const statement = this.#db.prepare(query);
    const columns = statement.columns();
    const bytes = columns.filter(({ type }) => type?.toLowerCase() === 'blob').map(({ name }) => name);
    const prepared = { statement, reads: columns.length > 0, bytes, isNumbered: /\?\d/.test(query) };
    this.#prepared.set(query, prepared);
    return prepared;
  }
}

/** @returns bytes as the runtime gives them. */
function bufferOf(value: unknown): ArrayBuffer | null {
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
