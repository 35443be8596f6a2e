/**
 * Answers calls of the client's own tools that the client leaves without a result, if it says `on_pending_tools: "cancel"`.
 */

import { isObject } from '../../kit/json/object.ts';
import type { HistoryState, SentMessage } from './continuation.ts';
import { answeredTools } from './replayable-blocks.ts';

/** Results of calls that the edge has made for the last answer, by call id. They are not in the history yet. */
export type PendingResults = ReadonlyMap<string, string>;

const CANCELLED = 'This call was cancelled: the user went on without its result.';

/**
 * Adds an error as the result of each call in the last answer that has no result, neither from the edge nor in the new
 * messages.
 *
 * @param pending the results that the edge has
 * @returns these results, and an error for each call without a result
 */
export function withCancelled(
  { called }: Pick<HistoryState, 'called'>,
  pending: PendingResults,
  [next]: readonly SentMessage[],
): PendingResults {
  if (next?.role !== 'user') return pending;
  const answered = new Set(answeredTools(next.content));
  const missing = [...called].filter((id) => !answered.has(id) && !pending.has(id));
  if (missing.length === 0) return pending;
  const results = missing.map((tool_use_id): [string, string] => [
    tool_use_id,
    JSON.stringify({ type: 'tool_result', tool_use_id, content: CANCELLED, is_error: true }),
  ]);
  return new Map([...pending, ...results]);
}

/** @returns the content of a user's message without the added errors: a client that resends the message does not have them */
export function withoutCancelled(content: unknown): unknown {
  if (!Array.isArray(content) || !content.some(isCancelled)) return content;
  return content.filter((block) => !isCancelled(block));
}

function isCancelled(block: unknown): boolean {
  return isObject(block) && block.type === 'tool_result' && block.is_error === true && block.content === CANCELLED;
}
