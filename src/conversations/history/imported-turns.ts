/** Checks and stores an imported history. It was made elsewhere, so its cost is not known. */

import { LONG_TEXT, type Steps, TEXTS_IN_A_STEP, withEach } from '../../async/in-steps.ts';
import { createRequestId } from '../../http/headers/request-id.ts';
import { itemTexts } from '../../json/edit.ts';
import { parseObject } from '../../json/object.ts';
import { withoutBreakpoints } from '../storage/message-text.ts';
import { BLANK_TURN, type TurnRow } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import { checkMessages, emptyHistoryState, type SentMessage } from './continuation.ts';
import { replaying } from './edge-blocks.ts';
import { dropPendingCalls, keptMessages, type LeftOut } from './kept-messages.ts';
import { answeredTools } from './replayable-blocks.ts';
import { IMPORTED } from './thinking.ts';

/** A message, and its JSON text. */
type ImportedMessage = SentMessage & { text: string };

/** The turns of an import, and how much of what was sent is not in them. */
export interface Imported {
  turns: ImportedMessage[][];
  left: LeftOut;
}

/**
 * Checks messages that a new conversation begins with, by the API's rules for a history. It may end with an answer. Rows of
 * another conversation become what would go up of them, and shown answers of runs become steps again.
 *
 * @param list the JSON text of the list, which the schema of a conversation has accepted
 * @returns the messages of each turn. A turn begins with each question
 * @throws ApiError 400 that says what to send instead
 */
export function* importing(list: string): Steps<Imported> {
  const left: LeftOut = { thinking: 0, messages: 0, calls: 0 };
  const texts = yield* replaying(yield* keptMessages(itemTexts(list), left), true);
  dropPendingCalls(texts, left);
  const messages: ImportedMessage[] = [];
  yield* withEach(texts, (text) => {
    const { role, content } = parseObject(text) ?? {};
    messages.push({ role: String(role), content, text: withoutBreakpoints(text) });
  });
  checkMessages(emptyHistoryState(), messages, true);
  const turns: ImportedMessage[][] = [];
  let before: string | undefined;
  for (const message of messages) {
    if (before === undefined || (message.role !== 'assistant' && before === 'assistant')) turns.push([]);
    turns.at(-1)?.push(message);
    before = message.role;
  }
  return { turns, left };
}

/** Stores the turns of an import in an empty conversation. @param now milliseconds since 1970 */
export function* storingImported(
  transcript: Transcript,
  turns: readonly ImportedMessage[][],
  { model, now }: { model: string | null; now: number },
): Steps<{ nextTurn: number; nextMessage: number }> {
  let seq = Math.max(transcript.profile?.nextTurn ?? 1, transcript.newestTurn + 1);
  let nextMessage = 1;
  let work = 0;
  for (const messages of turns) {
    const row = importedRow(seq, model ?? '', now, answeredTools(messages[0]?.content).length > 0);
    transcript.addTurn(row);
    for (const [index, { role, text }] of messages.entries()) {
      const id = `msg_${row.id}_${index + 1}`;
      transcript.addMessage({ seq: nextMessage, turn: seq, id, role, createdAt: now, text, origin: 'import' });
      nextMessage += 1;
      work += 1 + text.length / LONG_TEXT;
      if (work < TEXTS_IN_A_STEP) continue;
      work = 0;
      yield text.length;
    }
    seq += 1;
  }
  return { nextTurn: seq, nextMessage };
}

function importedRow(seq: number, model: string, now: number, follows: boolean): TurnRow {
  const requestId = createRequestId();
  return {
    ...BLANK_TURN,
    seq,
    id: `turn_${requestId.slice(-12)}`,
    requestId,
    key: null,
    hash: '',
    status: 'complete',
    route: IMPORTED,
    model,
    beganAt: now,
    endedAt: now,
    settled: true,
    frame: null,
    sentFrom: 0,
    follows,
  };
}
