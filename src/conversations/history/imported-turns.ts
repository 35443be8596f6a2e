/** Checks and stores an imported history. It was made elsewhere, so its cost is not known. */

import type { Steps } from '../../async/in-steps.ts';
import { createRequestId } from '../../http/headers/request-id.ts';
import { itemTexts } from '../../json/edit.ts';
import { parseObject } from '../../json/object.ts';
import { withoutBreakpoints } from '../storage/message-text.ts';
import { BLANK_TURN, type TurnRow } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import { checkMessages, emptyHistoryState, type SentMessage } from './continuation.ts';
import { withoutEdgeBlocks } from './edge-blocks.ts';
import { answeredTools } from './replayable-blocks.ts';
import { IMPORTED } from './thinking.ts';

/** A message, and its JSON text. */
type ImportedMessage = SentMessage & { text: string };

/** How many messages are read, or stored, in a step. A long one counts as several. */
const MESSAGES_IN_A_STEP = 500;
const LONG_CHARACTERS = 2_000;

/**
 * Checks messages that a new conversation begins with, by the API's rules for a history. It may end with an answer.
 *
 * @param list the JSON text of the list, which the schema of a conversation has accepted
 * @returns the messages of each turn. A turn begins with each question
 * @throws ApiError 400 that says what to send instead
 */
export function* importing(list: string): Steps<ImportedMessage[][]> {
  const texts = itemTexts(list);
  const sent: SentMessage[] = [];
  for (const text of texts) {
    const { role, content } = parseObject(text) ?? {};
    sent.push({ role: String(role), content });
    if (sent.length % MESSAGES_IN_A_STEP === 0) yield text.length;
  }
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
      work += 1 + text.length / LONG_CHARACTERS;
      if (work < MESSAGES_IN_A_STEP) continue;
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
