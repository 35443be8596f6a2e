/**
 * Stores what plugins remember about a turn when it begins: values by name, in one column of its row. Once the turn has ended,
 * and in its copies, only those remain that a dimension of the same name shows in messages.
 */

import { parseJsonObject } from '../../../kit/json/object.ts';
import { listDimensions } from '../../../money/contracts/dimensions.ts';

/** Plain values by name. A plugin checks what it reads, since a row may be damaged. */
export type TurnNotes = Readonly<Record<string, unknown>>;

interface RowWithNotes {
  notes: TurnNotes | null;
}

/** @returns the notes of a stored turn; null if it has none, or if they cannot be read */
export function parseNotes(column: unknown): TurnNotes | null {
  return typeof column === 'string' ? (parseJsonObject(column) ?? null) : null;
}

/** Adds notes to the row of a turn before that is stored. */
export function addNotes(row: RowWithNotes, notes: TurnNotes): void {
  if (Object.keys(notes).length > 0) row.notes = { ...row.notes, ...notes };
}

/** @returns the notes of a turn that messages show; null if it has none */
export function selectVisibleNotes({ notes }: RowWithNotes): TurnNotes | null {
  if (notes === null) return null;
  const isShown = (name: string) => listDimensions().some((one) => one.name === name && one.shownInMessage);
  const shown = Object.entries(notes).filter(([name]) => isShown(name));
  return shown.length === 0 ? null : Object.fromEntries(shown);
}

/** The note of a turn whose messages are stored in steps. It is removed with the last step, so only a crash leaves it behind. */
const INCOMPLETE = 'incomplete_messages';

/** @returns the notes of a turn whose messages are not all stored yet */
export function addIncompleteNote(notes: TurnNotes | null): TurnNotes {
  return { ...notes, [INCOMPLETE]: true };
}

/** @returns whether the messages of a stored turn are incomplete */
export function areMessagesIncomplete({ notes }: RowWithNotes): boolean {
  return notes?.[INCOMPLETE] === true;
}
