/** Finds whether an id that an upstream gives has come before, without reading the history. */

import { checksumOf } from './damaged-row.ts';
import type { Profile, ReadableTables } from './rows.ts';

type AnswerIds = NonNullable<Profile['answerIds']>;

/** @returns whether the edge has given an id. It has the turn's own in it, so no other message has it. */
export function isEdgeId(id: string): boolean {
  return id.startsWith('msg_turn_');
}

/** @returns whether an answer can have the id that its upstream gives it: no other message of the conversation has it. */
export function isFreeId(transcript: ReadableTables, id: unknown): boolean {
  if (typeof id !== 'string' || !/^[\w-]{1,128}$/.test(id) || isEdgeId(id)) return false;
  return !knownIds(transcript).marks.includes(marksOf([id])) || !transcript.has('messages where id = ?', id);
}

/** @returns the ids of all messages, the last of which is a new answer @param next the number of the message after it */
export function withAnswerId(transcript: ReadableTables, id: string, next: number): AnswerIds {
  return { from: next, marks: knownIds(transcript).marks + marksOf([id]) };
}

/** Reads the ids that are not known yet: of a copy, of a run that a crash has interrupted, and those of older releases. */
function knownIds(transcript: ReadableTables): AnswerIds {
  const { nextMessage = 1, answerIds = { from: 1, marks: '' } }: Partial<Profile> = transcript.readable ?? {};
  if (answerIds.from >= nextMessage) return answerIds;
  const rows = transcript.read<{ id: string }>('select id from messages where seq >= ?', answerIds.from);
  return { from: nextMessage, marks: answerIds.marks + marksOf(rows.map(({ id }) => id)) };
}

function marksOf(ids: readonly string[]): string {
  return ids.map((id) => (isEdgeId(id) ? '' : (checksumOf(id) >>> 0).toString(36).slice(-4))).join('');
}
