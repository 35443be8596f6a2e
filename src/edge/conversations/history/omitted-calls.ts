/**
 * Calls that were shown but do not go up, since the API would refuse them. A client that has seen them may send them again, and
 * may answer them: then the results go up in words.
 */

import { editJson } from '../../kit/json/edit.ts';
import { isObject, type Json, memberOf, parseObject, toText } from '../../kit/json/object.ts';
import { writeJson } from '../../kit/json/remembered-text.ts';
import { isBlank } from './replayable-blocks.ts';

/** Blocks of results that a user's message may have by themselves. */
const STANDALONE_BLOCKS: ReadonlySet<unknown> = new Set(['image', 'document', 'search_result']);

/** How the words about a call begin. */
const CALL_TEXT_START = /^\[The call (\S+) cannot be shown to you as a call\./;

/** @returns the blocks that tell in words what a call has answered that is not in the history */
export function resultAsText({ tool_use_id, content, is_error }: Json): Json[] {
  const failed = is_error === true ? ' with an error' : '';
  const why = `[The call ${toText(tool_use_id)} cannot be shown to you as a call. Its tool was called, and has answered${failed}: do not call it again for this. Its answer follows.]`;
  const blocks = Array.isArray(content) ? content.filter(isObject) : [{ type: 'text', text: content }];
  const stays = blocks.filter(({ type, text }) => (type === 'text' ? !isBlank(text) : STANDALONE_BLOCKS.has(type)));
  return [{ type: 'text', text: why }, ...stays];
}

/** @returns the blocks of a user's message, with the results of these calls in words. The API wants all other results first */
export function resultsAsText(blocks: readonly Json[], ids: ReadonlySet<string>): Json[] {
  const isReportedAsText = (block: Json) => isResult(block) && ids.has(toText(block.tool_use_id));
  if (!blocks.some(isReportedAsText)) return [...blocks];
  const inWords = blocks.flatMap((block) => (isReportedAsText(block) ? resultAsText(block) : [block]));
  return [...inWords.filter(isResult), ...inWords.filter((block) => !isResult(block))];
}

function isResult(block: unknown): boolean {
  return memberOf(block, 'type') === 'tool_result';
}

/**
 * @param text a message as JSON text
 * @returns it as it goes up: with the results of left-out calls in words. The same text if it has none
 */
export function messageWithoutCalls(text: string, leftOut: ReadonlySet<string>): string {
  if (leftOut.size === 0 || !text.includes('"tool_result"')) return text;
  const { role, content } = parseObject(text) ?? {};
  if (role === 'assistant' || !Array.isArray(content)) return text;
  // A block that is no object is refused, not sent.
  const blocks = content as Json[];
  const inWords = resultsAsText(blocks, leftOut);
  return inWords.every((block, at) => block === blocks[at]) ? text : editJson(text, { content: writeJson(inWords) });
}

/**
 * Finds the words about a call that stand before a block, or are it.
 *
 * @returns the id of the call, and how many blocks further on the block is; undefined if there are none
 */
export function findPrecedingCallText(
  blocks: readonly unknown[],
  at: number,
): { id: string; behind: number } | undefined {
  for (const [behind, block] of blocks
    .slice(0, at + 1)
    .toReversed()
    .entries()) {
    const [, id] = (isObject(block) && CALL_TEXT_START.exec(toText(block.text ?? ''))) || [];
    if (id !== undefined) return { id, behind };
  }
  return undefined;
}
