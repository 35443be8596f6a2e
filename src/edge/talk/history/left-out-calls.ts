/**
 * Calls that were shown but do not go up, since the API would refuse them. A client that has seen them may send them again, and
 * may answer them: then the results go up in words.
 */

import { edit, itemTexts, memberTexts } from '../../kit/json/edit.ts';
import { writeJson } from '../../kit/json/kept-text.ts';
import { asText, isObject, type Json, parseObject } from '../../kit/json/object.ts';
import { isBlank } from './replayable-blocks.ts';

/** Blocks of results that a user's message may have by themselves. */
const BY_THEMSELVES: ReadonlySet<unknown> = new Set(['image', 'document', 'search_result']);

/** @returns the blocks that tell in words what a call has answered that is not in the history */
export function toldResult({ tool_use_id, content, is_error }: Json): Json[] {
  const failed = is_error === true ? ' with an error' : '';
  const why = `[The call ${asText(tool_use_id)} cannot be shown to you as a call. Its tool was called, and has answered${failed}: do not call it again for this. Its answer follows.]`;
  const blocks = Array.isArray(content) ? content.filter(isObject) : [{ type: 'text', text: content }];
  const kept = blocks.filter(({ type, text }) => (type === 'text' ? !isBlank(text) : BY_THEMSELVES.has(type)));
  return [{ type: 'text', text: why }, ...kept];
}

/** @returns the blocks of a user's message, with the results of these calls in words */
export function toldResults(blocks: readonly Json[], ids: ReadonlySet<string>): Json[] {
  return blocks.flatMap((block) => {
    return block.type === 'tool_result' && ids.has(asText(block.tool_use_id)) ? toldResult(block) : [block];
  });
}

/**
 * Takes left-out calls out of a request's messages, and tells their results in words.
 *
 * @param body the JSON text of the request
 * @param leftOut the ids of the calls
 * @returns the same text if it has none of them
 */
export function withoutLeftOut(body: string, leftOut: readonly string[] = []): string {
  if (!leftOut.some((id) => body.includes(id))) return body;
  const ids = new Set(leftOut);
  const messages = itemTexts(memberTexts(body).get('messages') ?? '[]').flatMap((text) => messageWithout(text, ids));
  return edit(body, { messages: `[${messages.join(',')}]` });
}

/** @returns a message without these calls; none if nothing is left of it that a client keeps */
function messageWithout(text: string, ids: ReadonlySet<string>): string[] {
  const { role, content } = parseObject(text) ?? {};
  if (!Array.isArray(content)) return [text];
  if (role !== 'assistant') {
    const isTold = (block: unknown) => isObject(block) && ids.has(asText(block.tool_use_id));
    // A block that is no object is refused, not sent.
    return content.some(isTold) ? [edit(text, { content: writeJson(toldResults(content as Json[], ids)) })] : [text];
  }
  const kept = content.filter((block) => !(isObject(block) && block.type === 'tool_use' && ids.has(asText(block.id))));
  if (kept.length === content.length) return [text];
  const isSaid = (block: unknown) =>
    isObject(block) && (block.type === 'tool_use' || (block.type === 'text' && !isBlank(block.text)));
  return kept.some(isSaid) ? [edit(text, { content: writeJson(kept) })] : [];
}
