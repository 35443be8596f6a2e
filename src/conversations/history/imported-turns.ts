/** Checks and stores an imported history. It was made elsewhere, so its cost is not known. */

import { createRequestId } from '../../http/request-id.ts';
import { itemTexts } from '../../json/edit.ts';
import { parseObject } from '../../json/object.ts';
import { withoutBreakpoints } from '../storage/message-text.ts';
import { BLANK_TURN, type NewMessage, type TurnRow } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import { checkMessages, emptyHistoryState, type SentMessage } from './continuation.ts';
import { withoutEdgeBlocks } from './edge-blocks.ts';
import { answeredTools } from './replayable-blocks.ts';
import { messageOf } from './shown-messages.ts';
import { IMPORTED } from './thinking.ts';

/** A message, and its JSON text. */
type ImportedMessage = SentMessage & { text: string };

/**
 * Checks messages that a new conversation begins with, by the API's rules for a history. It may end with an answer.
 *
 * @param list the JSON text of the list, which the schema of a conversation has accepted
 * @returns the messages of each turn. A turn begins with each question
 * @throws ApiError 400 that says what to send instead
 */
export function importedTurns(list: string): ImportedMessage[][] {
  const texts = itemTexts(list);
  const sent = texts.map((text) => messageOf({ role: String(parseObject(text)?.role), text }));
  const { fresh, news } = withoutEdgeBlocks({ fresh: sent, news: texts });
  checkMessages(emptyHistoryState(), fresh, true);
  const turns: ImportedMessage[][] = [];
  let before: string | undefined;
  for (const [index, message] of fresh.entries()) {
    if (before === undefined || (message.role !== 'assistant' && before === 'assistant')) turns.push([]);
    turns.at(-1)?.push({ ...message, text: withoutBreakpoints(news[index] ?? '') });
    before = message.role;
  }
  return turns;
}

/** Stores the turns of an import in an empty conversation. @param now milliseconds since 1970 */
export function storeImported(
  transcript: Transcript,
  turns: readonly ImportedMessage[][],
  { model, now }: { model: string | null; now: number },
): { nextTurn: number; nextMessage: number } {
  let seq = Math.max(transcript.profile?.nextTurn ?? 1, transcript.newestTurn + 1);
  let nextMessage = 1;
  for (const messages of turns) {
    const row = importedRow(seq, model ?? '', now, answeredTools(messages[0]?.content).length > 0);
    const rows = messages.map(({ role, text }, index): NewMessage => {
      const id = `msg_${row.id}_${index + 1}`;
      return { seq: nextMessage + index, turn: seq, id, role, createdAt: now, text, origin: 'import' };
    });
    transcript.beginTurn(row, rows);
    transcript.endTurn(row);
    seq += 1;
    nextMessage += messages.length;
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
