import { shown } from './log-text.ts';
import { divide, PIECE_CHARACTERS } from './message-text.ts';
import type { TurnRow } from './rows.ts';
import type { RawRow } from './tables.ts';

/** The rows of the turns' logs: the events that were shown, in as few rows as possible. */
export class LogRows {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  /** @returns when the newest row of a turn's log was written, and how long unseen output may have been written by then. */
  last(turn: number): { at: number; unseenMs: number } | undefined {
    const [row] = this.#read('select at, unseen_ms from log where turn = ? order by n desc limit 1', turn);
    return typeof row?.at === 'number' ? { at: row.at, unseenMs: Number(row.unseen_ms ?? 0) } : undefined;
  }

  /**
   * Writes events to a turn's log in as few rows as possible. Only an event that is longer than a row is divided.
   *
   * @param n the number of the first row that is written
   * @param first the number of the first event
   * @param frames gives each event as it is shown; called only where they must be divided
   * @param text all of them joined
   * @param short the same shortened, where it can be
   * @param told when it is written, and how long unseen output may have been written; milliseconds
   * @returns the number of the next row
   */
  write(
    turn: number,
    n: number,
    first: number,
    frames: () => readonly string[],
    { text, short }: { text: string; short: string | undefined },
    told: { at: number; unseenMs: number } | undefined,
  ): number {
    let row = n;
    const insert = (begins: number, text: string) => {
      const { at = null, unseenMs = null } = told ?? {};
      this.#write(
        'insert into log (turn, n, first, text, at, unseen_ms) values (?, ?, ?, ?, ?, ?)',
        turn,
        row,
        begins,
        text,
        at,
        unseenMs,
      );
      row += 1;
    };
    if (text.length <= PIECE_CHARACTERS) {
      insert(first, short ?? text);
      return row;
    }
    let joined = '';
    let begins = first;
    for (const [index, frame] of frames().entries()) {
      if (joined !== '' && joined.length + frame.length > PIECE_CHARACTERS) {
        insert(begins, joined);
        joined = '';
      }
      if (joined === '') begins = first + index;
      if (frame.length <= PIECE_CHARACTERS) joined += frame;
      else for (const [part, piece] of divide(frame).entries()) insert(part === 0 ? begins : begins + 1, piece);
    }
    if (joined !== '') insert(begins, joined);
    return row;
  }

  /** @returns the number of the row in which an event begins. */
  rowOf(turn: number, event: number): number | undefined {
    const [row] = this.#read('select n from log where turn = ? and first <= ? order by n desc limit 1', turn, event);
    return row && Number(row.n);
  }

  /**
   * Reads a row of the log. The id is checked too, because numbers of deleted turns are used again.
   *
   * @returns its events as they are shown, or undefined after the last row
   */
  textOf({ seq, id }: Pick<TurnRow, 'seq' | 'id'>, n: number): string | undefined {
    const [row] = this.#read(
      'select l.first, l.text from log l join turns t on t.seq = l.turn where l.turn = ? and l.n = ? and t.id = ?',
      seq,
      n,
      id,
    );
    return row && shown(String(row.text), id, Number(row.first));
  }

  /** @returns the whole log of a turn, as it is shown. */
  of({ seq, id }: Pick<TurnRow, 'seq' | 'id'>): { text: string; rows: number } {
    const rows = this.#read('select first, text from log where turn = ? order by n', seq);
    return { text: rows.map(({ first, text }) => shown(String(text), id, Number(first))).join(''), rows: rows.length };
  }

  /** @returns how many rows the log of a turn has. */
  count(turn: number): number {
    return Number(this.#read('select count(*) as rows from log where turn = ?', turn)[0]?.rows ?? 0);
  }

  /** Deletes a turn's log. */
  delete(turn: number): void {
    this.#write('delete from log where turn = ?', turn);
  }

  #write(statement: string, ...bindings: SqlStorageValue[]): void {
    this.#storage.sql.exec(statement, ...bindings);
  }

  #read(query: string, ...bindings: SqlStorageValue[]): RawRow[] {
    return this.#storage.sql.exec<RawRow>(query, ...bindings).toArray();
  }
}
