/**
 * Calls that were shown but are not sent, since the API would refuse them. A client that has seen them may send them again, and
 * may answer them: then the results are sent as words.
 */

import { editJson } from '../../kit/json/edit.ts';
import { getMember, isObject, type JsonObject, parseJsonObject, toJsonText } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import { isBlank } from './replayable-blocks.ts';

/** Blocks of results that a user's message may have by themselves. */
const STANDALONE_BLOCKS: ReadonlySet<unknown> = new Set(['image', 'document', 'search_result']);

/** How the words about a call begin. */
const CALL_TEXT_START = /^\[The call (\S+) cannot be shown to you as a call\./;

/** @returns the blocks that describe as text the result of a call that is not in the history */
export function convertResultToTextBlocks({ tool_use_id, content, is_error }: JsonObject): JsonObject[] {
  const failed = is_error === true ? ' with an error' : '';
  const why = `[The call ${toJsonText(tool_use_id)} cannot be shown to you as a call. Its tool was called, and has answered${failed}: do not call it again for this. Its answer follows.]`;
  const blocks = Array.isArray(content) ? content.filter(isObject) : [{ type: 'text', text: content }];
  const stays = blocks.filter(({ type, text }) => (type === 'text' ? !isBlank(text) : STANDALONE_BLOCKS.has(type)));
  return [{ type: 'text', text: why }, ...stays];
}

/**
 * @returns the blocks of a user's message with the results of these calls as text. All other results come first, as the API
 *   requires
 */
export function convertResultsToText(blocks: readonly JsonObject[], ids: ReadonlySet<string>): JsonObject[] {
  const isReportedAsText = (block: JsonObject) => isToolResultBlock(block) && ids.has(toJsonText(block.tool_use_id));
  if (!blocks.some(isReportedAsText)) return [...blocks];
  const inWords = blocks.flatMap((block) => (isReportedAsText(block) ? convertResultToTextBlocks(block) : [block]));
  return [...inWords.filter(isToolResultBlock), ...inWords.filter((block) => !isToolResultBlock(block))];
}

function isToolResultBlock(block: unknown): boolean {
  return getMember(block, 'type') === 'tool_result';
}

/**
 * @param text a message as JSON text
 * @returns the message as it is sent: results of omitted calls are replaced by text. The same text if it has none
 */
export function convertOmittedResultsInMessage(text: string, leftOut: ReadonlySet<string>): string {
  if (leftOut.size === 0 || !text.includes('"tool_result"')) return text;
  const { role, content } = parseJsonObject(text) ?? {};
  if (role === 'assistant' || !Array.isArray(content)) return text;
  // The cast is harmless: a message with a block that is not an object is rejected and never sent.
  const blocks = content as JsonObject[];
  const inWords = convertResultsToText(blocks, leftOut);
  return inWords.every((block, at) => block === blocks[at])
    ? text
    : editJson(text, { content: stringifyWithRememberedTexts(inWords) });
}

/**
 * Finds the text about a call that precedes a block, or is the block itself.
 *
 * @returns the id of the call, and how many blocks later the block is; undefined if there is no such text
 */
export function findPrecedingCallText(
  blocks: readonly unknown[],
  at: number,
): { id: string; behind: number } | undefined {
  for (const [behind, block] of blocks
    .slice(0, at + 1)
    .toReversed()
    .entries()) {
    const [, id] = (isObject(block) && CALL_TEXT_START.exec(toJsonText(block.text ?? ''))) || [];
    if (id !== undefined) return { id, behind };
  }
  return undefined;
}
