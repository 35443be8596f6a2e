/** Counts the rows that statements of the objects of this isolate read and write. */

/** Rows that were read, and rows that were written with those of their indexes. */
export interface RowCount {
  read: number;
  written: number;
}

/** What the runtime gives for a statement. Its prototype has the methods of all of them. */
type Cursor = SqlStorageCursor<Record<string, SqlStorageValue>>;
type Method = (this: Cursor, ...given: unknown[]) => unknown;
const READING_METHODS = ['next', 'toArray', 'one', 'raw', Symbol.iterator] as const;

/**
 * Starts counting. A cursor counts rows until it is read to the end, and only its object may ask it: each use of it notes what was
 * added.
 *
 * @param sql of any object of the isolate, called within the object
 * @param note called with the text of the statement, and what its use has added
 * @returns a function that stops it
 */
export function noteRowCounts(sql: SqlStorage, note: (statement: string, count: RowCount) => void): () => void {
  const replaced: (() => void)[] = [];
  const replace = <T extends object, K extends keyof T>(object: T, key: K, value: T[K]) => {
    const before = object[key];
    object[key] = value;
    replaced.push(() => {
      object[key] = before;
    });
  };
  const noted = new WeakMap<Cursor, RowCount & { statement: string }>();
  const noteUse = (cursor: Cursor) => {
    const before = noted.get(cursor);
    if (!before) return;
    const { rowsRead, rowsWritten } = cursor;
    const { read, written, statement } = before;
    Object.assign(before, { read: rowsRead, written: rowsWritten });
    note(statement, { read: rowsRead - read, written: rowsWritten - written });
  };
  /** Rows that an iterator reads are rows of its cursor. */
  function* iterate(cursor: Cursor, rows: Iterator<unknown>) {
    for (let row = rows.next(); !row.done; row = rows.next()) {
      noteUse(cursor);
      yield row.value;
    }
    noteUse(cursor);
  }
  const replaceMethods = (prototype: Record<PropertyKey, Method>) => {
    for (const name of READING_METHODS) {
      const method = prototype[name];
      if (!method) throw new Error(`A cursor has no method ${String(name)}.`);
      const isIterator = name === 'raw' || name === Symbol.iterator;
      replace(prototype, name, function (this: Cursor, ...given) {
        const result = method.apply(this, given);
        noteUse(this);
        return isIterator ? withToArray(iterate(this, result as Iterator<unknown>)) : result;
      });
    }
  };
  const prototype = Object.getPrototypeOf(sql) as SqlStorage;
  const { exec } = prototype;
  replace(prototype, 'exec', function (this: SqlStorage, ...given: Parameters<typeof exec>) {
    const cursor = Reflect.apply(exec, this, given) as Cursor;
    if (replaced.length === 1) replaceMethods(Object.getPrototypeOf(cursor) as Record<PropertyKey, Method>);
    noted.set(cursor, { read: 0, written: 0, statement: given[0] });
    noteUse(cursor);
    return cursor;
  } as typeof exec);
  return () => {
    for (const restore of replaced.splice(0)) restore();
  };
}

/** The runtime's own iterators have the method; a generator may not. */
const withToArray = (rows: Generator<unknown>) => Object.assign(rows, { toArray: () => [...rows] });
