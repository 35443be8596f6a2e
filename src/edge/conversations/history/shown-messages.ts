/** Reads the history as clients have it: to them the steps of a run are one answer. */
import { isObject, type JsonObject, toJsonText } from '../../kit/json/object.ts';
import { type ComparableHistoryMessage, removeCancelledResults, type SentMessage } from './continuation.ts';
import { listToolCallIds } from './replayable-blocks.ts';
import type { MessageText } from './storage/history-cache.ts';
import type { TurnStatus } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';

/** Reads the messages as they were shown, to compare them with what a client sends. @param isSentOnly leaves out refused turns */
export function* readShownMessages(transcript: Transcript, isSentOnly: boolean): Generator<ComparableHistoryMessage> {
  let calls: ReadonlySet<string> | undefined;
  let answer: (ComparableHistoryMessage & { run: number; turn: number; content: unknown[] }) | undefined;
  for (const message of transcript.messages.readMessageTexts({ sent: isSentOnly, shown: true })) {
    const { status, run, turn, role } = message;
    // The answer of a step is the last assistant message of its turn. An earlier one in the same turn was imported with the
    // question, so yield it as a separate message.
    const isImported = answer?.turn === turn;
    if (answer && (answer.run !== run || isImported)) {
      if (isImported) answer.isPartial = false;
      yield answer;
      answer = undefined;
    }
    // Load the ids of the edge's calls at the first message of a run. Later turns need them, too: a turn that is not a run may
    // contain results of these calls.
    if (run !== null) calls ??= transcript.edgeCalls.ids;
    const stored = parseMessage(message).content;
    const content = role === 'user' ? removeCancelledResults(stored) : stored;
    if (run === null && (calls === undefined || role === 'assistant')) {
      yield { role, content, isPartial: isPartial(status), refused: listRefusedCallIds(status, content) };
      continue;
    }
    const own = removeEdgeCallsAndResults(content, calls ?? NO_CALLS);
    if (run !== null && role === 'assistant') {
      // Take the status from the run's row, not from the step's: a run can also be interrupted between two steps.
      answer ??= { role, run, turn, content: [], isPartial: isPartial(transcript.getTurnStatus(run)) };
      answer.turn = turn;
      answer.refused = [...(answer.refused ?? []), ...listRefusedCallIds(status, own)];
      answer.content.push(...own);
    } else if (!answer && own.length > 0) yield { role, content: own, isPartial: false };
  }
  if (answer) yield answer;
}

const NO_CALLS: ReadonlySet<string> = new Set();

/** @returns the ids of the calls of an answer that the model has refused */
function listRefusedCallIds(status: TurnStatus | undefined, content: unknown): string[] {
  return status === 'refused' ? listToolCallIds(content) : [];
}

function isPartial(status: TurnStatus | undefined): boolean {
  return status === 'interrupted' || status === 'stopped';
}

/** @returns the blocks of a content without the edge's calls and their results. */
function removeEdgeCallsAndResults(content: unknown, calls: ReadonlySet<string>): unknown[] {
  if (!Array.isArray(content)) return content === '' ? [] : [{ type: 'text', text: content }];
  const isOfEdge = ({ type, id, tool_use_id }: JsonObject) =>
    (type === 'tool_use' && calls.has(toJsonText(id))) ||
    (type === 'tool_result' && calls.has(toJsonText(tool_use_id)));
  return content.filter((block) => !(isObject(block) && isOfEdge(block)));
}

/** @returns a stored message, parsed. */
export function parseMessage({ role, text }: MessageText): SentMessage {
  return { role, content: (JSON.parse(text) as { content?: unknown }).content };
}
