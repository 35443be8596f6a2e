/** Rewinds a history. */

import type { SentMessage } from './continuation.ts';
import { listAnsweredCallIds } from './replayable-blocks.ts';
import { parseMessage } from './shown-messages.ts';
import { copiedRows, selectProfileMembers } from './storage/copyable-rows.ts';
import type { ConversationProfile, MessageRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { countTurnsAndMessages, findTurnByNumber } from './storage/turn-queries.ts';

/**
 * Deletes the turn of a message and all later turns. An import is one turn: in it the deletion begins with the message
 * itself, or with the nearest question before it.
 *
 * @returns the changed members of the profile; undefined if there is no such message
 */
export function rewindToMessage(transcript: Transcript, id: string): Partial<ConversationProfile> | undefined {
  const found = transcript.messages.findMessage(id);
  const profile = transcript.storedProfile;
  if (!found || !profile) return undefined;
  const { run = null } = findTurnByNumber(transcript, found.turn) ?? {};
  const turn = run ?? found.turn;
  const cut = run === null ? findFirstMessageToDelete(transcript, found) : findFirstMessageOfRun(transcript, run);
  return transcript.runInTransaction(() => {
    transcript.deleteMessages('seq >= ?', cut);
    for (const { rewind } of copiedRows()) rewind?.(transcript, cut, turn);
    const nextTurn = Math.max(profile.nextTurn, transcript.newestTurnNumber + 1);
    // An import is stored as one turn. If the cut is inside it, its messages before the cut remain, so keep the row of the
    // turn.
    const isLeft =
      transcript.queryNumber('select turn from messages where seq < ? order by seq desc limit 1', cut) !== turn;
    transcript.removeTurnsFromHistory(isLeft ? turn : turn + 1);
    // The remaining part of an import has lost its last answer, so the stored token count no longer fits. Clear it.
    const rest = findTurnByNumber(transcript, turn);
    if (rest && rest.tokens !== null) transcript.updateTurn(rest, { tokens: null, frame: null });
    const { turns, messages } = countTurnsAndMessages(transcript);
    const sentFrom = profile.sentFrom >= cut ? 0 : profile.sentFrom;
    const members = selectProfileMembers(profile, { last: turn - 1, isCut: true, shift: 0 });
    return { turns, messages, nextTurn, sentFrom, ...members };
  });
}

/** @returns the number of the first message to delete: the found one, or the nearest question before it. */
function findFirstMessageToDelete(transcript: Transcript, message: { seq: number; turn: number }): number {
  let behind: MessageRow | undefined;
  for (const row of transcript.messages.readMessages({ to: message.seq, isBackwards: true })) {
    if (row.turn !== message.turn) break;
    const isQuestion = behind?.role === 'user' && row.role === 'assistant';
    if (behind && isQuestion && listAnsweredCallIds(toShownMessage(behind).content).length === 0) break;
    behind = row;
  }
  return behind?.seq ?? message.seq;
}

function toShownMessage({ role, text, shown }: MessageRow): SentMessage {
  return parseMessage({ role, text: shown ?? text });
}

/** @returns the number of a run's first message. The turns of its steps have higher numbers than the run's own row. */
function findFirstMessageOfRun(transcript: Transcript, run: number): number {
  return transcript.queryNumberOrZero('select min(seq) from messages where turn >= ?', run);
}
