/** Writes a conversation as lines, and begins one with the lines of another. */

import {
  type ConversationCopyLine,
  copiedRows,
  selectProfileMembers,
} from '../../conversations/history/storage/copyable-rows.ts';
import { findDamageInError } from '../../conversations/history/storage/damaged-row.ts';
import { type ConversationProfile, GRACE_MS, type RetainedPrefix } from '../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { selectVisibleNotes } from '../../conversations/history/storage/turn-notes.ts';
import {
  findLastCommittedTurnNumber,
  findTurnByNumber,
  listTurnsOfRun,
  readCommittedTurns,
} from '../../conversations/history/storage/turn-queries.ts';
import type { ConversationKey } from '../../conversations/object/contract.ts';
import type { ConversationContext } from '../../conversations/object/hooks.ts';
import {
  createIncompleteImportError,
  discardConversationAndThrow,
  startConversation,
} from '../../conversations/object/profile-changes.ts';
import { retainPrefix } from '../../conversations/object/retained-prefix.ts';
import { readMessageRows } from '../../conversations/views/message-json.ts';
import { createTextStream } from '../../kit/http/text-stream.ts';
import { editJson } from '../../kit/json/edit.ts';
import { backedUpProfile, forkedProfile, turnLine } from './copied-lines.schema.ts';
import { removeLineBreaks } from './export-lines.ts';
import { selectMembers } from './select-members.ts';
import { type BackupRestrictions, storeCopiedLines } from './store-copy.ts';

/**
 * Writes a conversation as lines for a copy (a fork, or a backup): the profile, `system`, `tools`, the turns with their
 * messages, and an end. `storeCopiedLines` reads them.
 *
 * @param at a message of the last turn to copy; without it all turns are copied
 * @param more members of the profile to copy too: a fork begins without the cost of the original
 * @returns undefined if there is no such message
 */
export function createCopyStream(
  transcript: Transcript,
  profile: ConversationProfile,
  at: string | undefined,
  more: Partial<ConversationProfile> = {},
): ReadableStream<Uint8Array> | undefined {
  const found = at === undefined ? undefined : transcript.messages.findMessage(at);
  if (at !== undefined && !found) return undefined;
  const { run = null } = found ? (findTurnByNumber(transcript, found.turn) ?? {}) : {};
  const last = run === null ? found?.turn : listTurnsOfRun(transcript, run).at(-1)?.seq;
  const until = last ?? findLastCommittedTurnNumber(transcript);
  const lastMessage = transcript.queryNumberOrZero('select max(seq) from messages where turn <= ?', until);
  // Remember the version: if the conversation is rewound during the copy, the copy is incomplete, and its last line is
  // `changed` instead of `end`.
  const { version } = profile;
  function* generateCopyLines(): Generator<string> {
    const members = selectProfileMembers(profile, { last: until, isCut: at !== undefined, shift: 0 });
    yield formatCopyLine('profile', JSON.stringify({ ...selectMembers(forkedProfile, profile), ...members, ...more }));
    for (const { linesBefore } of copiedRows()) {
      for (const extra of linesBefore?.(transcript, profile, lastMessage) ?? []) yield formatCopyLine(...extra);
    }
    // Iterate over messages and turns in parallel. A query for each turn would read the numbers of all messages each time.
    const messages = readMessageRows(transcript, 0, lastMessage);
    let message = messages.next().value;
    for (const turn of readCommittedTurns(transcript, until)) {
      // Do not copy the container, because the original conversation keeps using it.
      const outcome = turn.outcome && { ...turn.outcome, container: undefined };
      const copied = { ...selectMembers(turnLine, turn), outcome, notes: selectVisibleNotes(turn) };
      yield formatCopyLine('turn', JSON.stringify(copied));
      for (const { linesOf } of copiedRows()) {
        for (const extra of linesOf?.(transcript, turn) ?? []) yield formatCopyLine(...extra);
      }
      for (; message && message.turn <= turn.seq; message = messages.next().value) {
        const { seq, turn, id, role, createdAt, text, shown, origin } = message;
        const head = JSON.stringify({ seq, turn, id, role, createdAt, origin });
        yield formatCopyLine('message', shown === null ? head : editJson(head, { shown }), text);
      }
    }
    const isSame = transcript.storedProfile?.version === version || findTurnByNumber(transcript, until) !== undefined;
    yield formatCopyLine(transcript.storedProfile?.exists && isSame ? 'end' : 'changed', 'null');
  }
  return createTextStream(yieldLinesUntilDamage(generateCopyLines()));
}

/** Writes a conversation as the lines of a backup: with its cost, and with the call that it answers as a subagent. */
export function createBackupStream(
  transcript: Transcript,
  profile: ConversationProfile,
): ReadableStream<Uint8Array> | undefined {
  return createCopyStream(transcript, profile, undefined, selectMembers(backedUpProfile, profile));
}

/** Yields lines up to the first damaged row, and then a line that reports the damage. */
function* yieldLinesUntilDamage(lines: Iterable<string>): Generator<string> {
  try {
    yield* lines;
  } catch (thrown) {
    const damage = findDamageInError(thrown);
    if (!damage) throw thrown;
    yield formatCopyLine('damaged', JSON.stringify(damage.subject));
  }
}

function formatCopyLine(...[kind, ...texts]: ConversationCopyLine): string {
  return `[${JSON.stringify(kind)},${removeLineBreaks(texts.join(','))}]\n`;
}

/**
 * Stores the copy of another conversation: all of it, or nothing.
 *
 * @param lines what `createCopyStream` of the other conversation wrote
 * @param backup set for lines that come from outside
 * @throws ApiError 500 for a copy that is not complete
 */
export async function storeConversationCopy(
  conversation: ConversationContext,
  conversationKey: ConversationKey,
  lines: ReadableStream<Uint8Array>,
  backup?: BackupRestrictions,
): Promise<void> {
  const { transcript, maintenance } = conversation;
  let retained: RetainedPrefix | undefined;
  try {
    // If the object crashes during the copy, this alarm deletes the stored part.
    startConversation(conversation, conversationKey, GRACE_MS);
    const copied = await storeCopiedLines(transcript, lines, backup);
    if (copied?.prefix) {
      retained = await retainPrefix(conversation, conversationKey, copied.prefix);
      copied.prefix = retained;
    }
    if (!copied || transcript.storedProfile?.deleted) throw createIncompleteImportError();
    maintenance.changeProfile({ ...copied, exists: true });
  } catch (thrown) {
    discardConversationAndThrow(conversation, retained, thrown);
  }
}
