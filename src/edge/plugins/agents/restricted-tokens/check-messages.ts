/** Checks the new messages of a restricted token: questions and results of its own tools, and nothing by which it could instruct. */

import type { SentMessage } from '../../../conversations/history/continuation.ts';
import { type ApiError, restrictedTokenError } from '../../../kit/http/errors.ts';
import { isObject, type Json } from '../../../kit/json/object.ts';

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isTextOrNull: Check = (value) => value === null || isText(value);
const isCitations: Check = (value) =>
  value === null ||
  (isObject(value) && Object.entries(value).every(([name, on]) => name === 'enabled' && typeof on === 'boolean'));
/** What is looked at by itself. */
const isAnything: Check = () => true;

const OF_BLOCKS: Readonly<Record<string, Readonly<Record<string, Check>>>> = {
  text: { type: isText, text: isText },
  image: { type: isText, source: isAnything },
  document: { type: isText, source: isAnything, title: isTextOrNull, context: isTextOrNull, citations: isCitations },
  tool_result: {
    type: isText,
    tool_use_id: isText,
    content: isAnything,
    is_error: (value) => typeof value === 'boolean',
  },
};
const SOURCES: typeof OF_BLOCKS = {
  base64: { type: isText, media_type: isText, data: isText },
  file: { type: isText, file_id: isText },
};

/**
 * Checks what is new in a restricted token's request. What it resends is not read.
 *
 * @param calls ids of calls that the caller may answer
 * @throws ApiError 403 that names what is not allowed
 */
export function checkRestrictedMessages(messages: readonly SentMessage[], calls: ReadonlySet<string>): void {
  for (const [index, message] of messages.entries()) {
    const path = `messages.${index}`;
    if (message.role !== 'user') throw wrongPartError(`${path}.role`, 'new messages are of the role `user`');
    rejectOtherMembers(path, message as unknown as Json, { role: isText, content: isAnything });
    if (typeof message.content === 'string') continue;
    checkBlocks(`${path}.content`, message.content, calls);
  }
}

/** @param calls absent within a result, which has no results itself */
function checkBlocks(path: string, blocks: unknown, calls?: ReadonlySet<string>): void {
  if (!Array.isArray(blocks)) throw wrongPartError(path, 'it is a text, or a list of blocks');
  for (const [index, block] of blocks.entries()) {
    const at = `${path}.${index}`;
    const type = isObject(block) && typeof block.type === 'string' ? block.type : '';
    const members = Object.hasOwn(OF_BLOCKS, type) ? OF_BLOCKS[type] : undefined;
    if (!isObject(block) || !members || (type === 'tool_result' && !calls)) {
      throw wrongPartError(at, `a block is a text, an image or a document${calls ? ', or the result of a tool' : ''}`);
    }
    rejectOtherMembers(at, block, members);
    if (Object.hasOwn(members, 'source')) checkSource(`${at}.source`, block.source);
    if (type !== 'tool_result') continue;
    if (!calls?.has(block.tool_use_id as string))
      throw wrongPartError(
        `${at}.tool_use_id`,
        'the last answer has no open call with this id that is yours to answer',
      );
    if (block.content !== undefined && typeof block.content !== 'string') checkBlocks(`${at}.content`, block.content);
  }
}

function checkSource(path: string, source: unknown): void {
  const type = isObject(source) && typeof source.type === 'string' ? source.type : '';
  const members = Object.hasOwn(SOURCES, type) ? SOURCES[type] : undefined;
  if (!isObject(source) || !members) throw wrongPartError(path, 'a source is base64, or a file of this account');
  rejectOtherMembers(path, source, members);
}

function rejectOtherMembers(path: string, value: Json, members: Readonly<Record<string, Check>>): void {
  for (const [name, member] of Object.entries(value)) {
    const check = Object.hasOwn(members, name) ? members[name] : undefined;
    if (!check)
      throw wrongPartError(`${path}.${name}`, `what is here has no members but ${Object.keys(members).join(', ')}`);
    if (!check(member)) throw wrongPartError(`${path}.${name}`, 'its value is of another kind');
  }
}

function wrongPartError(path: string, rule: string): ApiError {
  return restrictedTokenError(`${path}: ${rule}.`);
}
