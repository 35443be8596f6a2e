import { parseMessageRememberingInputs } from '../../kit/json/input-texts.ts';
import { isObject, type JsonObject, toJsonText } from '../../kit/json/object.ts';
import type { RepairedMessage } from './repaired-messages.ts';
import { removePendingServerCalls } from './replayable-blocks.ts';
import type { MessageRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';

/**
 * Removes the server tool calls without results from a paused answer that will not be continued. Otherwise, the API would
 * reject another question.
 *
 * @param continuation the replayable blocks of a continuation that has ended without the results
 */
export function removePendingCallsOfPausedAnswer(
  transcript: Transcript,
  continuation: readonly JsonObject[] = [],
): RepairedMessage[] {
  const paused: (MessageRow & { content: JsonObject[] })[] = [];
  for (const row of transcript.messages.readMessages({ sent: true, isBackwards: true })) {
    if (row.role !== 'assistant') break;
    const { content } = parseMessageRememberingInputs(row.text) ?? {};
    if (Array.isArray(content)) paused.push({ ...row, content: content.filter(isObject) });
  }
  const blocks = [...paused.flatMap(({ content }) => content), ...continuation];
  const results = new Set(blocks.map(({ tool_use_id }) => toJsonText(tool_use_id)));
  return paused.flatMap((row) => {
    const content = removePendingServerCalls(row.content, results);
    return content.length === row.content.length ? [] : [{ ...row, content }];
  });
}
