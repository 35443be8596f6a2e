import { getOrMake } from '../cache/get-or-make.ts';

/** The statements that insert rows, by their tables and columns: those of this code, so they are few. */
const inserts = new Map<string, string>();

/** Runs an object's SQL, synchronously, and counts the rows that are written. */
export class Tables {
  /** Rows that this instance has written. The platform bills them, and tests compare them. */
  rowsWritten = 0;
  protected readonly storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.storage = storage;
  }

  /** Runs one statement. @returns how many rows it has written */
  write(statement: string, ...bindings: SqlStorageValue[]): number {
    const { rowsWritten } = this.storage.sql.exec(statement, ...bindings);
    this.rowsWritten += rowsWritten;
    return rowsWritten;
  }

  /** Adds a row, given by the names of its columns. */
  insert(table: string, row: Readonly<Record<string, SqlStorageValue>>, verb = 'insert'): void {
    const names = Object.keys(row);
    const into = `${verb} into ${table} (${names.join(', ')})`;
    const statement = getOrMake(inserts, into, () => `${into} values (${names.map(() => '?').join(', ')})`);
    this.write(statement, ...Object.values(row));
  }

  /** Changes rows, given by the names of the columns that change. @param where chooses them, by further bindings */
  update(
    table: string,
    change: Readonly<Record<string, SqlStorageValue>>,
    where: string,
    ...by: SqlStorageValue[]
  ): void {
    const changes = Object.keys(change).map((name) => `${name} = ?`);
    if (changes.length > 0)
      this.write(`update ${table} set ${changes.join(', ')} where ${where}`, ...Object.values(change), ...by);
  }

  /** @returns the rows of one query. */
  read<Row extends Record<string, SqlStorageValue>>(query: string, ...bindings: SqlStorageValue[]): Row[] {
    return this.storage.sql.exec<Row>(query, ...bindings).toArray();
  }

  /** @returns the figure that a query selects, the first column of its first row; undefined where there is none. */
  figure(query: string, ...bindings: SqlStorageValue[]): number | undefined {
    const [row = []] = [...this.storage.sql.exec(query, ...bindings).raw()];
    const [figure = null] = row;
    return figure === null ? undefined : Number(figure);
  }

  /** @returns the figure that a query selects, such as a count or a sum; 0 where there is none. */
  number(query: string, ...bindings: SqlStorageValue[]): number {
    return this.figure(query, ...bindings) ?? 0;
  }

  /** @returns the value of a key in the table `meta`, or undefined. */
  meta(key: string): string | undefined {
    return this.read<{ value: string }>('select value from meta where key = ?', key)[0]?.value;
  }

  /** Stores a value under a key in the table `meta`; undefined deletes it. */
  setMeta(key: string, value: string | undefined): void {
    if (value === undefined) this.write('delete from meta where key = ?', key);
    else this.write('insert or replace into meta (key, value) values (?, ?)', key, value);
  }

  /** Runs statements in one transaction: all of them are stored, or none. */
  together<T>(change: () => T): T {
    return this.storage.transactionSync(change);
  }
}
