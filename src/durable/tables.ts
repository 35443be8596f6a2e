/** The tables of an object: statements run at once, and the rows that they write are counted. */
export class Tables {
  /** Rows written by this instance: what the platform bills, and tests compare. */
  rowsWritten = 0;
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  /** Runs one statement and counts the rows it writes. */
  write(statement: string, ...bindings: SqlStorageValue[]): number {
    const cursor = this.#storage.sql.exec(statement, ...bindings);
    const { rowsWritten } = cursor;
    this.rowsWritten += rowsWritten;
    return rowsWritten;
  }

  /** @returns the rows of one query. */
  read<Row extends Record<string, SqlStorageValue>>(query: string, ...bindings: SqlStorageValue[]): Row[] {
    return this.#storage.sql.exec<Row>(query, ...bindings).toArray();
  }

  meta(key: string): string | undefined {
    return this.read<{ value: string }>('select value from meta where key = ?', key)[0]?.value;
  }

  setMeta(key: string, value: string | undefined): void {
    if (value === undefined) this.write('delete from meta where key = ?', key);
    else this.write('insert or replace into meta (key, value) values (?, ?)', key, value);
  }

  /** Runs statements that must be stored together. */
  together(change: () => void): void {
    this.#storage.transactionSync(change);
  }
}
