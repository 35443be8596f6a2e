import type { SqliteRow } from '../../../durable/columns.ts';
import { TableRowsBase } from '../../../durable/rows.ts';
import { PIECE_CHARACTERS, splitTextIntoPieces } from './message-text.ts';
import { GRACE_MS, type TurnRow } from './rows.ts';

/** When a row was written, and for how long the model may have written unseen output by then; milliseconds. */
export interface RowTime {
  at: number;
  unseenMs: number;
}

/** The newest row of a log, as long as it grows. */
export interface GrowingRow {
  n: number;
  characters: number;
}

/** The most characters to which a row grows: reading one of its events reads the whole row. */
export const MAX_GROWING_CHARACTERS = 131_072;
/**
 * Selects a row of an expired log. Numbers of deleted turns are used again, so only the turns' rows show which logs have
 * expired.
 */
const EXPIRED_ROW = '(turn, n) = (select turn, n from log join turns on seq = turn where ended_at <= ? limit 1)';

/**
 * The rows of the turns' logs. They hold the shown events in as few rows as possible. A row of a log that has expired is
 * written over: to delete it and to insert another one would be two rows. (The table has no key, because a changed key would
 * be two as well. It has few rows.)
 */
export class LogRows extends TableRowsBase {
  /** When turns have ended whose logs may still be there, oldest first; milliseconds since 1970. */
  #endTimes: number[] = [];

  /** @returns the times of the newest row of a turn's log; undefined if it has none. */
  findLastRowTime(turn: number): RowTime | undefined {
    const [row] = this.tables.readAllRows('select at, unseen_ms from log where turn = ? order by n desc limit 1', turn);
    return typeof row?.at === 'number' ? { at: row.at, unseenMs: Number(row.unseen_ms ?? 0) } : undefined;
  }

  /**
   * Writes events to a turn's log in as few rows as possible. Only an event that is longer than a row is divided.
   *
   * @param turn the turn; logs that had expired when it began are deleted
   * @param start the number of the first row that is written
   * @param first the number of the first event
   * @param frames returns each event as it is shown; called only if the events must be divided
   * @param text all events joined
   * @returns the number of the next row, and the one that was written, if it can grow
   */
  writeEvents(
    { seq: turn, beganAt }: Pick<TurnRow, 'seq' | 'beganAt'>,
    start: number,
    first: number,
    frames: () => readonly string[],
    text: string,
    time: RowTime | undefined,
  ): { next: number; growing?: GrowingRow } {
    let n = start;
    const { at = null, unseenMs: unseen_ms = null } = time ?? {};
    const insertRow = (first: number, text: string): void => {
      const row = { turn, n, first, text, at, unseen_ms };
      if (!this.#overwriteExpiredRow(row, beganAt)) this.tables.insertRow('log', row);
      n += 1;
    };
    if (text.length <= PIECE_CHARACTERS) {
      insertRow(first, text);
      return { next: n, growing: { n: start, characters: text.length } };
    }
    let batch = '';
    let begins = first;
    // Write all rows or none. After a failure the caller writes the same events again, beginning at the same row.
    this.tables.runInTransaction(() => {
      for (const [index, frame] of frames().entries()) {
        if (batch !== '' && batch.length + frame.length > PIECE_CHARACTERS) {
          insertRow(begins, batch);
          batch = '';
        }
        if (batch === '') begins = first + index;
        if (frame.length <= PIECE_CHARACTERS) batch += frame;
        else
          for (const [part, piece] of splitTextIntoPieces(frame).entries())
            insertRow(part === 0 ? begins : begins + 1, piece);
      }
      if (batch !== '') insertRow(begins, batch);
    });
    return { next: n };
  }

  /** Records when a turn has ended, so that its log is deleted in time. */
  recordTurnEndTime({ endedAt }: Pick<TurnRow, 'endedAt'>): void {
    if (endedAt !== null) this.#endTimes.push(endedAt);
  }

  /** Overwrites a row of an expired log. @returns whether there was such a row */
  #overwriteExpiredRow(row: SqliteRow, beganAt: number): boolean {
    const endedBy = beganAt - GRACE_MS;
    // Do not run the update if no turn ended early enough for its rows to have expired: it would search the table and find
    // none.
    if (this.#endTimes[0] === undefined || this.#endTimes[0] > endedBy) return false;
    if (this.tables.updateRows('log', row, EXPIRED_ROW, endedBy) > 0) return true;
    this.#endTimes = this.#endTimes.filter((endedAt) => endedAt > endedBy);
    return false;
  }

  /**
   * Adds events to a row: one row written, and one deleted in the end.
   *
   * @returns the row as it is now; undefined if they must be written to a new one
   */
  appendEventsToRow(turn: number, row: GrowingRow, text: string, time: RowTime | undefined): GrowingRow | undefined {
    const characters = row.characters + text.length;
    if (characters > MAX_GROWING_CHARACTERS) return undefined;
    const { at = null, unseenMs = null } = time ?? {};
    this.tables.runWriteStatement(
      'update log set text = text || ?, at = coalesce(?, at), unseen_ms = coalesce(?, unseen_ms) where turn = ? and n = ?',
      ...[text, at, unseenMs, turn, row.n],
    );
    return { ...row, characters };
  }

  /** Stores in a row of a log that no event has arrived until this time. */
  updateRowTime(turn: number, n: number, { at, unseenMs }: RowTime): void {
    this.tables.updateRows('log', { at, unseen_ms: unseenMs }, 'turn = ? and n = ?', turn, n);
  }

  /** @returns the row in which an event begins, or the next row if the event is lost: its number and its first event */
  findRowOfEvent(turn: number, event: number): { n: number; first: number } | undefined {
    const query = 'select n, first from log where turn = ? and first <= ? order by n desc limit 1';
    const [row] = this.tables.readAllRows(query, turn, event);
    return row && { n: Number(row.n), first: Number(row.first) };
  }

  /**
   * Reads a row of the log. The id is checked too, because numbers of deleted turns are used again.
   *
   * @returns its events, or undefined after the last row
   */
  readRowText({ seq, id }: Pick<TurnRow, 'seq' | 'id'>, n: number): string | undefined {
    const query = 'select l.text from log l join turns t on t.seq = l.turn where l.turn = ? and l.n = ? and t.id = ?';
    const [row] = this.tables.readAllRows(query, seq, n, id);
    return row && String(row.text);
  }

  /** @returns the whole log of a turn, as it is shown. */
  readLog({ seq }: Pick<TurnRow, 'seq'>): { text: string; rows: number } {
    const rows = this.tables.readAllRows('select text from log where turn = ? order by n', seq);
    return { text: rows.map(({ text }) => String(text)).join(''), rows: rows.length };
  }

  /** @returns how many rows the log of a turn has. */
  countRowsOfTurn(turn: number): number {
    return this.tables.queryNumberOrZero('select count(*) from log where turn = ?', turn);
  }

  delete(turn: number): void {
    this.tables.runWriteStatement('delete from log where turn = ?', turn);
  }
}
