import type { SqlTables } from '../../../durable/tables.ts';
import { splitTextIntoPieces } from './message-text.ts';

/** The most owners behind a turn: results of calls, of which an answer has far fewer. */
const MAX_OWNERS_PER_TURN = 10_000;
/** The owners behind turns begin here and go down: all other owners have greater numbers. */
const FIRST_TURN_OWNER = -1_000;

/** The owner of a message's text is its number; that of the text as it is shown is so much greater. */
export const SHOWN_OWNER_OFFSET = 2 ** 40;

/** @returns the owner of the nth text behind a turn */
export function getPieceOwnerNumber(turn: number, n: number): number {
  return FIRST_TURN_OWNER - turn * MAX_OWNERS_PER_TURN - n;
}

/** @returns the condition on owners for all that is behind turns. @param turns a query of their numbers */
export function createOwnersConditionSql(turns: string): string {
  return `owner <= ${FIRST_TURN_OWNER} and (${FIRST_TURN_OWNER} - owner) / ${MAX_OWNERS_PER_TURN} in (${turns})`;
}

/** Stores a text of any length in as many rows as it needs. @param owner the number under which it is found again */
export function writeTextPieces(tables: SqlTables, owner: number, whole: string): void {
  for (const [n, text] of splitTextIntoPieces(whole).entries()) tables.insertRow('pieces', { owner, n, text });
}

/** @returns the text of an owner; empty if there is none */
export function readTextPieces(tables: SqlTables, owner: number): string {
  const rows = tables.readAllRows('select text from pieces where owner = ? order by n', owner);
  // Concatenate instead of `join`, which copies the text. Most callers insert the result into a larger text, and then only that
  // text is copied.
  return rows.reduce((text, row) => text + String(row.text), '');
}
