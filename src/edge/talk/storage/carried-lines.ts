/**
 * Keeps lines of a copy whose kind is not known here: those of a newer release, or of a room that is not here. The next copy has
 * them again, each behind the turn that it has come behind. So such a line names no turn: its place says it.
 */
import type { Tables } from '../../kit/objects/tables.ts';
import { pieceOwner, readDivided, writeDivided } from './pieces.ts';

/** They are stored behind the results of all calls that a turn can have, and deleted with these. */
const FIRST_CARRIED = 5_000;
/** The most behind one turn. */
export const MOST_CARRIED = 5_000;

/** Stores a line. @param n how many are stored already behind the same turn; 0 as the turn: before the first one */
export function carryLine(tables: Tables, turn: number, n: number, line: string): void {
  writeDivided(tables, pieceOwner(turn, FIRST_CARRIED + n), line);
}

export function* carriedLines(tables: Tables, turn: number): Generator<string> {
  for (let n = 0; n < MOST_CARRIED; n += 1) {
    const line = readDivided(tables, pieceOwner(turn, FIRST_CARRIED + n));
    if (line === '') return;
    yield `${line}\n`;
  }
}
