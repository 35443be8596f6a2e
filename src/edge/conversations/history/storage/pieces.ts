import type { SqlTables } from '../../../durable/tables.ts';
import { splitTextIntoPieces } from './message-text.ts';

/** The most texts that a turn may own apart from its messages: results of calls, of which an answer has far fewer. */
const MAX_OWNERS_PER_TURN = 10_000;
/** The owner numbers of turns' texts begin here and go down. All other owners have greater numbers. */
const FIRST_TURN_OWNER = -1_000;

/** The owner of a message's text is its number; that of the text as it is shown is so much greater. */
export const SHOWN_OWNER_OFFSET = 2 ** 40;

/** @returns the owner number of the nth text of a turn */
export function getPieceOwnerNumber(turn: number, n: number): number {
  return FIRST_TURN_OWNER - turn * MAX_OWNERS_PER_TURN - n;
}

/** @returns the SQL condition for all texts of turns. @param turns a query of the turns' numbers */
export function createOwnersConditionSql(turns: string): string {
  return `owner <= ${FIRST_TURN_OWNER} and (${FIRST_TURN_OWNER} - owner) / ${MAX_OWNERS_PER_TURN} in (${turns})`;
}

/** A part of a long text, as a row. */
type TextPiece = { owner: number; n: number; text: string };

/** Stores a text of any length in as many rows as it needs. @param owner the number under which it is found again */
export function writeTextPieces(tables: SqlTables, owner: number, whole: string): void {
  for (const piece of divideText(owner, whole)) tables.insertRow('pieces', piece);
}

/** @returns the rows of a text */
export function divideText(owner: number, whole: string): TextPiece[] {
  return splitTextIntoPieces(whole).map((text, n) => ({ owner, n, text }));
}

/** Reads the pieces of a text in order, each when it is taken. */
export function* readEachTextPiece(tables: SqlTables, owner: number): Generator<string> {
  for (let n = 0; ; n += 1) {
    const [row] = tables.readAllRows('select text from pieces where owner = ? and n = ?', owner, n);
    if (!row) return;
    yield String(row.text);
  }
}

/** @returns the text of an owner; empty if there is none */
export function readTextPieces(tables: SqlTables, owner: number): string {
  const rows = tables.readAllRows('select text from pieces where owner = ? order by n', owner);
  // Concatenate instead of `join`, which copies the text. Most callers insert the result into a larger text, and then only that
  // text is copied.
  return rows.reduce((text, row) => text + String(row.text), '');
}
