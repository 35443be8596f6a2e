/**
 * Calls that were shown but do not go up, since the API would refuse them. A client that has seen them may send them again, and
 * may answer them: then the results go up in words.
 */

import { edit } from '../../kit/json/edit.ts';
import { writeJson } from '../../kit/json/kept-text.ts';
import { asText, isObject, type Json, memberOf, parseObject } from '../../kit/json/object.ts';
import { isBlank } from './replayable-blocks.ts';

/** Blocks of results that a user's message may have by themselves. */
const BY_THEMSELVES: ReadonlySet<unknown> = new Set(['image', 'document', 'search_result']);

/** How the words about a call begin. */
const TOLD = /^\[The call (\S+) cannot be shown to you as a call\./;

/** @returns the blocks that tell in words what a call has answered that is not in the history */
export function resultAsText({ tool_use_id, content, is_error }: Json): Json[] {
  const failed = is_error === true ? ' with an error' : '';
  const why = `[The call ${asText(tool_use_id)} cannot be shown to you as a call. Its tool was called, and has answered${failed}: do not call it again for this. Its answer follows.]`;
  const blocks = Array.isArray(content) ? content.filter(isObject) : [{ type: 'text', text: content }];
  const stays = blocks.filter(({ type, text }) => (type === 'text' ? !isBlank(text) : BY_THEMSELVES.has(type)));
  return [{ type: 'text', text: why }, ...stays];
}

/** @returns the blocks of a user's message, with the results of these calls in words. The API wants all other results first */
export function resultsAsText(blocks: readonly Json[], ids: ReadonlySet<string>): Json[] {
  const isTold = (block: Json) => isResult(block) && ids.has(asText(block.tool_use_id));
  if (!blocks.some(isTold)) return [...blocks];
  const inWords = blocks.flatMap((block) => (isTold(block) ? resultAsText(block) : [block]));
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
  return inWords.every((block, at) => block === blocks[at]) ? text : edit(text, { content: writeJson(inWords) });
}

/**
 * Finds the words about a call that stand before a block, or are it.
 *
 * @returns the id of the call, and how many blocks further on the block is; undefined if there are none
 */
export function wordsBefore(blocks: readonly unknown[], at: number): { id: string; behind: number } | undefined {
  for (const [behind, block] of blocks
    .slice(0, at + 1)
    .toReversed()
    .entries()) {
    const [, id] = (isObject(block) && TOLD.exec(asText(block.text ?? ''))) || [];
    if (id !== undefined) return { id, behind };
  }
  return undefined;
}
