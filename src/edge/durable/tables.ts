import { getOrCreate } from '../kit/cache/get-or-create.ts';
import { createPageResponse } from '../kit/http/page.ts';
import type { SqliteRow } from './columns.ts';
import type { PageSelection } from './page.ts';
import type { Totals } from './totals.ts';

/** A statement, and the statements that continue its words. */
interface StatementTrieNode {
  statement: string | undefined;
  readonly next: Map<string, StatementTrieNode>;
}

const createStatementNode = (): StatementTrieNode => ({ statement: undefined, next: new Map() });
/** All statements, by their text. They come from this code only, so there are few. */
const statements = createStatementNode();

/**
 * @param words the words that distinguish the statement from all others
 * @returns the same string object for the same words. The runtime finds a prepared statement by its string, and has to read a
 *   new string completely
 */
function getInternedStatement(words: readonly string[], make: () => string): string {
  let node = statements;
  for (const word of words) node = getOrCreate(node.next, word, createStatementNode);
  node.statement ??= make();
  return node.statement;
}

/** A paged list: what is selected, and by which columns it is ordered. */
interface PagedSelect {
  /** The text between `select` and `order by`, including a `where`. */
  select: string;
  /** The columns of the order. The last one must be different in any two rows. */
  order: readonly string[];
  /** Selects these columns of the row whose id is `?1`. Default: the id itself, if it is the only column. */
  edge?: string;
}

/** The maximum of parameters in a statement: https://developers.cloudflare.com/durable-objects/platform/limits/ */
const MAX_BINDINGS = 100;

/** A query of no rows, for tables that do not exist. */
const EMPTY_QUERY = 'select 1 where false';

/** Runs an object's SQL, synchronously, and counts the rows that are written. */
export class SqlTables {
  /** Rows that this instance has written. The platform bills them, and tests compare them. */
  rowsWritten = 0;
  protected readonly storage: DurableObjectStorage;
  #createOnWrite: (() => void) | undefined;
  readonly #abort: ((thrown: unknown) => void) | undefined;
  #isPluginWriting = false;

  /**
   * @param make makes the tables where they do not exist. It is called before the first row; until then nothing is found
   * @param abort resets the object. Called with the error of a failed write, for an object whose memory follows its rows in many
   *   places. Absent where the callers of these tables handle a failed write
   */
  constructor(storage: DurableObjectStorage, make?: () => void, abort?: (thrown: unknown) => void) {
    this.storage = storage;
    this.#createOnWrite = make;
    this.#abort = abort;
  }

  /** @returns whether the tables do not exist yet, because nothing was ever written. */
  get areTablesMissing(): boolean {
    return this.#createOnWrite !== undefined;
  }

  /** @returns whether there are tables for a statement. The first row makes them; else there is nothing to change or to read */
  #hasTablesFor(statement: string): boolean {
    if (this.#createOnWrite && statement.startsWith('insert')) this.#createTables();
    return this.#createOnWrite === undefined;
  }

  #createTables(): void {
    const make = this.#createOnWrite;
    if (!make) return;
    // Clear the field first: creating the tables may write rows, and each write calls this method again.
    this.#createOnWrite = undefined;
    try {
      this.storage.transactionSync(make);
    } catch (thrown) {
      this.#createOnWrite = make;
      this.#throwStorageError(thrown);
    }
  }

  #throwStorageError(thrown: unknown): never {
    if (!this.#isPluginWriting) this.#abort?.(thrown);
    throw thrown;
  }

  /** Makes writes of a plugin. One that fails is the plugin's to handle: it does not reset the object. */
  runAsPlugin<T>(write: () => T): T {
    const before = this.#isPluginWriting;
    this.#isPluginWriting = true;
    try {
      return write();
    } finally {
      this.#isPluginWriting = before;
    }
  }

  /** Runs one statement. @returns how many rows it has written */
  runWriteStatement(statement: string, ...bindings: SqlStorageValue[]): number {
    if (!this.#hasTablesFor(statement)) return 0;
    try {
      const { rowsWritten } = this.storage.sql.exec(statement, ...bindings);
      this.rowsWritten += rowsWritten;
      return rowsWritten;
    } catch (thrown) {
      this.#throwStorageError(thrown);
    }
  }

  /** Adds a row, given by the names of its columns. @returns how many rows it has written */
  insertRow(table: string, row: SqliteRow, verb?: string): number {
    return this.insertRows(table, [row], verb);
  }

  /**
   * Adds rows that have the same columns, as many with each statement as it can bind.
   *
   * @returns how many rows it has written
   */
  insertRows(table: string, rows: readonly SqliteRow[], verb = 'insert'): number {
    let written = 0;
    const names = Object.keys(rows[0] ?? {});
    const most = Math.floor(MAX_BINDINGS / names.length);
    for (let at = 0; at < rows.length; at += most) {
      const some = rows.slice(at, at + most);
      const statement = getInternedStatement([verb, table, String(some.length), ...names], () => {
        const places = `(${names.map(() => '?').join(', ')})`;
        return `${verb} into ${table} (${names.join(', ')}) values ${some.map(() => places).join(', ')}`;
      });
      written += this.runWriteStatement(statement, ...some.flatMap((row) => Object.values(row)));
    }
    return written;
  }

  /**
   * Changes rows, given by the names of the columns that change.
   *
   * @param condition chooses them, by further bindings
   * @returns how many rows it has written
   */
  updateRows(
    table: string,
    change: Readonly<Record<string, SqlStorageValue>>,
    condition: string,
    ...bindings: SqlStorageValue[]
  ): number {
    const names = Object.keys(change);
    if (names.length === 0) return 0;
    const statement = getInternedStatement(['update', table, condition, ...names], () => {
      return `update ${table} set ${names.map((name) => `${name} = ?`).join(', ')} where ${condition}`;
    });
    return this.runWriteStatement(statement, ...Object.values(change), ...bindings);
  }

  readAllRows<Row extends Record<string, SqlStorageValue>>(query: string, ...bindings: SqlStorageValue[]): Row[] {
    return this.iterateRows<Row>(query, ...bindings).toArray();
  }

  /** @returns the rows of one query, which are read one by one, so that the caller can stop early. */
  iterateRows<Row extends Record<string, SqlStorageValue>>(query: string, ...bindings: SqlStorageValue[]) {
    return this.#createOnWrite
      ? this.storage.sql.exec<Row>(EMPTY_QUERY)
      : this.storage.sql.exec<Row>(query, ...bindings);
  }

  /** @returns whether there are such rows. @param from the text after `from`: a table and its condition */
  hasRows(from: string, ...bindings: SqlStorageValue[]): boolean {
    return this.readAllRows(`select 1 from ${from} limit 1`, ...bindings).length > 0;
  }

  /** @returns a page of rows, newest first. @param bindings the values for `select`, from `?3` on */
  selectPage<Row extends Record<string, SqlStorageValue> & { id: string }>(
    { select, order, edge = '?1' }: PagedSelect,
    { limit = 20, after_id, before_id }: PageSelection,
    ...bindings: SqlStorageValue[]
  ) {
    const backwards = before_id !== undefined;
    const columns = order.map((column) => `${column} ${backwards ? 'asc' : 'desc'}`).join(', ');
    const from = after_id ?? before_id ?? null;
    // With `?1 is null or`, SQLite would walk to the page from the beginning of the list.
    const isOnPage = from === null ? '?1 is null' : `(${order.join(', ')}) ${backwards ? '>' : '<'} (${edge})`;
    const rows = this.readAllRows<Row>(
      `select ${select} and ${isOnPage} order by ${columns} limit ?2`,
      from,
      limit + 1,
      ...bindings,
    );
    return createPageResponse(rows, limit, backwards, ({ id }) => id);
  }

  /**
   * @returns the number that a statement selects or returns: the first column of its first row; undefined if there is none.
   */
  queryNumber(query: string, ...bindings: SqlStorageValue[]): number | undefined {
    if (!this.#hasTablesFor(query)) return undefined;
    try {
      const cursor = this.storage.sql.exec(query, ...bindings);
      const [row = []] = [...cursor.raw()];
      this.rowsWritten += cursor.rowsWritten;
      const [figure = null] = row;
      return figure === null ? undefined : Number(figure);
    } catch (thrown) {
      this.#throwStorageError(thrown);
    }
  }

  /** @returns the number that a query selects, such as a count or a sum; 0 if there is none. */
  queryNumberOrZero(query: string, ...bindings: SqlStorageValue[]): number {
    return this.queryNumber(query, ...bindings) ?? 0;
  }

  /** @returns the stored totals with these names; see `totals.ts` */
  readTotals<Name extends string>(...names: Name[]): Record<Name, Totals> {
    const rows = this.readAllRows<SqliteRow & Totals & { name: string }>(
      'select name, count, bytes from totals where name in (select value from json_each(?))',
      JSON.stringify(names),
    );
    const find = (name: Name) => rows.find((row) => row.name === name) ?? { count: 0, bytes: 0 };
    return Object.fromEntries(names.map((name) => [name, find(name)])) as Record<Name, Totals>;
  }

  readMetaValue(key: string): string | undefined {
    return this.readAllRows<{ value: string }>('select value from meta where key = ?', key)[0]?.value;
  }

  /** @returns the first keys in `meta` that begin with a prefix, without it */
  listMetaKeys(prefix: string, limit: number): string[] {
    const query = 'select key from meta where key >= ? and key < ? order by key limit ?';
    const rows = this.readAllRows<{ key: string }>(query, prefix, `${prefix}\u{10ffff}`, limit);
    return rows.map(({ key }) => key.slice(prefix.length));
  }

  /** Stores a value under a key in the table `meta`; undefined deletes it. */
  writeMetaValue(key: string, value: string | undefined): void {
    if (value === undefined) this.runWriteStatement('delete from meta where key = ?', key);
    else this.runWriteStatement('insert or replace into meta (key, value) values (?, ?)', key, value);
  }

  /** Runs statements in one transaction: stores all of them, or none. */
  runInTransaction<T>(change: () => T): T {
    // Create the tables first: inside the transaction a rollback would remove them, too.
    this.#createTables();
    let isChanged = false;
    try {
      return this.storage.transactionSync(() => {
        const result = change();
        isChanged = true;
        return result;
      });
    } catch (thrown) {
      // The changes succeeded, but committing them failed. The object's memory may then contain changes that storage lacks, so
      // reset the object.
      if (isChanged) this.#throwStorageError(thrown);
      throw thrown;
    }
  }
}
