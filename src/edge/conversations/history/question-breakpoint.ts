/** Marks the end of the previous question as cached, where the API does not find it from the end of the prompt. */

import type { HistoryReplacement } from '../../claude/request/request-body.ts';
import type { SentHistory } from '../../claude/request/sent-history.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { COMMA } from '../../kit/json/characters.ts';
import { parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import type { SentMessage } from './continuation.ts';
import type { MessageText } from './storage/history-cache.ts';
import { addBreakpointToLastBlock } from './storage/message-text.ts';
import type { Transcript } from './storage/transcript.ts';

/** From a breakpoint the API looks for cached prefixes at so many blocks, its own included. */
const LOOKBACK_BLOCKS = 20;
const COMPARED_BYTES = 1_024;

/**
 * Adds a cache breakpoint to the last block of the previous question, with which the previous prompt ended. Without it, after a
 * long answer the whole history would be written to the cache again instead of being read from it.
 *
 * @param breakpoint the member `cache_control`
 * @param history the messages before the new ones
 * @param tail the last answer and all messages after it, at the end of the history
 * @returns undefined if the end of the prompt is near enough, or if the question is not sent as it is stored
 */
export function addBreakpointToPreviousQuestion(
  breakpoint: JsonObject,
  history: SentHistory,
  tail: readonly MessageText[],
  fresh: readonly SentMessage[],
  transcript: Transcript,
): HistoryReplacement | undefined {
  const inTail = tail.reduce((sum, { text }) => sum + countBlocks(text), 0);
  const isNew = ({ content }: SentMessage) => (Array.isArray(content) ? content.length : 1);
  if (fresh.reduce((sum, message) => sum + isNew(message), inTail) < LOOKBACK_BLOCKS) return undefined;
  const question = readMessageBeforeLastAnswer(tail, transcript);
  const marked = question && addBreakpointToLastBlock(question, breakpoint);
  if (question === undefined || marked === undefined) return undefined;
  const end = tail.reduce((at, { text }) => at - encoder.encode(text).length - 1, history.joinedBytes.length);
  const bytes = encoder.encode(question);
  const start = end - bytes.length;
  if (
    start < 0 ||
    history.joinedBytes[end] !== COMMA ||
    !haveSameStartAndEnd(history.joinedBytes.subarray(start, end), bytes)
  )
    return undefined;
  return { start, end, bytes: encoder.encode(marked) };
}

/**
 * Compares the start and the end of two messages of the same length. Differences between the sent and the stored form are
 * elsewhere.
 */
function haveSameStartAndEnd(one: Uint8Array, other: Uint8Array): boolean {
  const getStartAndEnd = (bytes: Uint8Array) => [
    ...bytes.subarray(0, COMPARED_BYTES),
    ...bytes.subarray(-COMPARED_BYTES),
  ];
  const expected = getStartAndEnd(other);
  return getStartAndEnd(one).every((byte, at) => byte === expected[at]);
}

function countBlocks(message: string): number {
  const content = parseMemberTexts(message).get('content') ?? '';
  return content.startsWith('[') ? splitArrayItems(content).length : 1;
}

/** Reads the message before the last answer. */
function readMessageBeforeLastAnswer(tail: readonly MessageText[], transcript: Transcript): string | undefined {
  let at = 0;
  for (const { text } of transcript.messages.readMessageTexts({ sent: true, isBackwards: true })) {
    if (at === tail.length) return text;
    at += 1;
  }
  return undefined;
}
