/**
 * Checks the new messages of a restricted token: questions and results of the client's own tools, but nothing that could
 * instruct the model.
 */

import type { SentMessage } from '../../../conversations/history/continuation.ts';
import { type ApiError, createRestrictedTokenError } from '../../../kit/http/errors.ts';
import { isObject } from '../../../kit/json/object.ts';

interface FieldRule {
  /** Completes the sentence "This field must be …". */
  expected: string;
  isValid: (value: unknown) => boolean;
}

const text: FieldRule = { expected: 'a string', isValid: (value) => typeof value === 'string' };
const textOrNull: FieldRule = {
  expected: 'a string or null',
  isValid: (value) => value === null || typeof value === 'string',
};
const boolean: FieldRule = { expected: 'a boolean', isValid: (value) => typeof value === 'boolean' };
const citationsSetting: FieldRule = {
  expected: 'null, or an object whose only field is the boolean `enabled`',
  isValid: (value) =>
    value === null ||
    (isObject(value) && Object.entries(value).every(([name, on]) => name === 'enabled' && typeof on === 'boolean')),
};
/** The value of this field is checked separately. */
const anyValue: FieldRule = { expected: 'any value', isValid: () => true };

const OF_BLOCKS: Readonly<Record<string, Readonly<Record<string, FieldRule>>>> = {
  text: { type: text, text },
  image: { type: text, source: anyValue },
  document: {
    type: text,
    source: anyValue,
    title: textOrNull,
    context: textOrNull,
    citations: citationsSetting,
  },
  tool_result: {
    type: text,
    tool_use_id: text,
    content: anyValue,
    is_error: boolean,
  },
};
const SOURCES: typeof OF_BLOCKS = {
  base64: { type: text, media_type: text, data: text },
  file: { type: text, file_id: text },
};

/**
 * Checks the new messages of a restricted token's request. Messages that resend the history are ignored.
 *
 * @param calls ids of calls that the caller may answer
 * @throws ApiError 403 that names what is not allowed
 */
export function validateRestrictedMessages(messages: readonly SentMessage[], calls: ReadonlySet<string>): void {
  for (const [index, message] of messages.entries()) {
    const path = `messages.${index}`;
    if (message.role !== 'user')
      throw createDisallowedPartError(`${path}.role`, 'new messages must have the role `user`');
    rejectDisallowedFields(path, message, { role: text, content: anyValue });
    if (typeof message.content === 'string') continue;
    validateContentBlocks(`${path}.content`, message.content, calls);
  }
}

/** @param calls absent within a result, which has no results itself */
function validateContentBlocks(path: string, blocks: unknown, calls?: ReadonlySet<string>): void {
  if (!Array.isArray(blocks)) throw createDisallowedPartError(path, 'must be a text or a list of blocks');
  for (const [index, block] of blocks.entries()) {
    const at = `${path}.${index}`;
    const type = isObject(block) && typeof block.type === 'string' ? block.type : '';
    const members = Object.hasOwn(OF_BLOCKS, type) ? OF_BLOCKS[type] : undefined;
    if (!isObject(block) || !members || (type === 'tool_result' && !calls)) {
      throw createDisallowedPartError(
        at,
        `must be a block with text, an image${calls ? ', a document or the result of a tool' : ' or a document'}`,
      );
    }
    rejectDisallowedFields(at, block, members);
    if (Object.hasOwn(members, 'source')) validateBlockSource(`${at}.source`, block.source);
    if (type !== 'tool_result') continue;
    if (!calls?.has(block.tool_use_id as string))
      throw createDisallowedPartError(
        `${at}.tool_use_id`,
        'the last response has no open call with this id that your client can answer. Send results only for such calls',
      );
    if (block.content !== undefined && typeof block.content !== 'string')
      validateContentBlocks(`${at}.content`, block.content);
  }
}

function validateBlockSource(path: string, source: unknown): void {
  const type = isObject(source) && typeof source.type === 'string' ? source.type : '';
  const members = Object.hasOwn(SOURCES, type) ? SOURCES[type] : undefined;
  if (!isObject(source) || !members) throw createDisallowedPartError(path, 'must be base64 or a file of this account');
  rejectDisallowedFields(path, source, members);
}

function rejectDisallowedFields(path: string, value: object, members: Readonly<Record<string, FieldRule>>): void {
  for (const [name, member] of Object.entries<unknown>({ ...value })) {
    const rule = Object.hasOwn(members, name) ? members[name] : undefined;
    if (!rule)
      throw createDisallowedPartError(
        `${path}.${name}`,
        `not supported. Remove it. Supported fields: ${Object.keys(members).join(', ')}`,
      );
    if (!rule.isValid(member)) throw createDisallowedPartError(`${path}.${name}`, `must be ${rule.expected}`);
  }
}

function createDisallowedPartError(path: string, rule: string): ApiError {
  return createRestrictedTokenError(`${path}: ${rule}.`);
}
