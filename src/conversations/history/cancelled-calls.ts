/** Calls of the client's own tools that it leaves behind: with `on_pending_tools: "cancel"` they are answered for it. */

import { isObject } from '../../json/object.ts';
import type { HistoryState, SentMessage } from './continuation.ts';
import type { PendingResults } from './edge-tools.ts';
import { answeredTools } from './replayable-blocks.ts';

const CANCELLED = 'This call was cancelled: the user went on without its result.';

/**
 * Answers the last answer's calls of which neither the edge nor the new messages have a result.
 *
 * @param pending the results that the edge has
 * @returns these, and an error for each call without one
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

/** @returns the content of a user's message without what was answered for them: a client that resends it has none of that */
export function withoutCancelled(content: unknown): unknown {
  if (!Array.isArray(content) || !content.some(isCancelled)) return content;
  return content.filter((block) => !isCancelled(block));
}

function isCancelled(block: unknown): boolean {
  return isObject(block) && block.type === 'tool_result' && block.is_error === true && block.content === CANCELLED;
}
