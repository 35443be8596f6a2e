/** Checks and stores an imported history. It was made elsewhere, so its cost is not known. */

import { checkMessage, checkMessages, createEmptyHistoryState } from '../../conversations/history/continuation.ts';
import { repairCallsInMessages } from '../../conversations/history/repaired-calls.ts';
import { listAnsweredCallIds } from '../../conversations/history/replayable-blocks.ts';
import { removeBreakpointsFromMessage } from '../../conversations/history/storage/message-text.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { IMPORT_ROUTE } from '../../conversations/history/thinking.ts';
import type { ImportOmissions } from '../../conversations/object/conversations-answers.schema.ts';
import { restoreEdgeCallsInMessages } from '../../conversations/views/edge-blocks.ts';
import { forEachInSteps, type SteppedWork } from '../../kit/async/run-in-steps.ts';
import { createRequestId } from '../../kit/http/headers/request-id.ts';
import { requireWellFormedStrings } from '../../kit/http/require-well-formed.ts';
import { iterateArrayItems } from '../../kit/json/edit.ts';
import { replaceLoneSurrogates } from '../../kit/json/lone-surrogates.ts';
import { parseJsonObject } from '../../kit/json/object.ts';
import { HistoryWriter } from './history-writer.ts';
import { cleanImportedMessages, removeUnansweredServerCalls } from './importable-messages.ts';

interface ImportedMessage {
  role: string;
  text: string;
  /** Whether it has results of calls. */
  follows: boolean;
}

/** The turns of an import, and how many messages and blocks were left out. */
interface ParsedImport {
  turns: ImportedMessage[][];
  left: ImportOmissions;
}

/**
 * Checks the messages of a new conversation by the API's rules for a history, which may end with an answer. Rows of another
 * conversation are converted to what would be sent of them, and shown answers of runs to steps.
 *
 * @param list the JSON text of the list, which the schema of a conversation has accepted
 * @returns the messages of each turn. A turn begins with each question
 * @throws ApiError 400 that explains what to send instead
 */
export function* parseImportedTurns(list: string): SteppedWork<ParsedImport> {
  const left: ImportOmissions = { thinking: 0, messages: 0, calls: 0, blank: 0 };
  const messages = yield* restoreEdgeCallsInMessages(
    yield* cleanImportedMessages(iterateWellFormedItems(list), left),
    true,
  );
  const texts = yield* removeUnansweredServerCalls(repairCallsInMessages(messages), left);
  const turns: ImportedMessage[][] = [];
  const at = createEmptyHistoryState();
  let before: string | undefined;
  yield* forEachInSteps(texts, (text, index) => {
    const { role: sent, content } = parseJsonObject(text) ?? {};
    const role = String(sent);
    checkMessage(at, { role, content }, `messages.${index}`, true);
    const message = {
      role,
      text: removeBreakpointsFromMessage(text),
      follows: listAnsweredCallIds(content).length > 0,
    };
    if (before === undefined || (role !== 'assistant' && before === 'assistant')) turns.push([]);
    turns.at(-1)?.push(message);
    before = role;
  });
  checkMessages(at, [], true);
  return { turns, left };
}

/** Yields the messages of a list. @throws ApiError 400 that names a lone surrogate by its path in the list as it was sent */
function* iterateWellFormedItems(list: string): Generator<string> {
  let index = 0;
  for (const text of iterateArrayItems(list)) {
    if (replaceLoneSurrogates(text) !== text) requireWellFormedStrings(parseJsonObject(text), `messages.${index}`);
    index += 1;
    yield text;
  }
}

/** Stores the turns of an import in an empty conversation. @param now milliseconds since 1970 */
export function* storeImportedTurns(
  transcript: Transcript,
  turns: readonly ImportedMessage[][],
  { model, now }: { model: string | null; now: number },
): SteppedWork<{ nextTurn: number; nextMessage: number }> {
  const writer = new HistoryWriter(transcript);
  for (const messages of turns) {
    const { nextTurn: turn } = writer;
    const row = createImportedTurnRow(turn, model ?? '', now, messages[0]?.follows ?? false);
    writer.addTurn(row);
    for (const [index, { role, text }] of messages.entries()) {
      yield text.length;
      const id = `msg_${row.id}_${index + 1}`;
      writer.addMessage({ seq: writer.nextMessage, turn, id, role, createdAt: now, text, origin: 'import' });
    }
  }
  writer.flush();
  return { nextTurn: writer.nextTurn, nextMessage: writer.nextMessage };
}

function createImportedTurnRow(seq: number, model: string, now: number, follows: boolean) {
  const requestId = createRequestId();
  return {
    seq,
    id: `turn_${requestId.slice(-12)}`,
    requestId,
    hash: '',
    status: 'complete' as const,
    route: IMPORT_ROUTE,
    model,
    beganAt: now,
    endedAt: now,
    settled: true,
    sentFrom: 0,
    follows,
  };
}
