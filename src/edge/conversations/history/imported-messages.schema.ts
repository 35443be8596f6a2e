/** The messages of a history that was made elsewhere: every later request of their conversation contains them. */

import {
  createMessagesSchema,
  findMessageFault,
  type MessageFault,
  messageRole,
} from '../../claude/messages.schema.ts';
import { getMember, isObject } from '../../kit/json/object.ts';

/** How to convert the messages of OpenAI's API that have no counterpart by their role. */
const CONVERSIONS: ReadonlyMap<string, string> = new Map([
  ['developer', 'Send the first one as `system` of the conversation, and later ones with the role `system`.'],
  [
    'tool',
    'Send the result of a tool as a user message with a `tool_result` block, and its call as a `tool_use` block of the assistant message before it.',
  ],
]);
const OTHER_ROLE = `Send one of the roles ${messageRole.options.map((role) => `\`${role}\``).join(', ')}.`;
const TOOL_CALLS =
  'not a field of messages. Send each call as a `tool_use` block in `content`, and its result as a `tool_result` block in the next user message.';

/**
 * Messages that the API can accept in a later request. Blocks of unknown types are accepted, because the API may know them.
 */
export const importedMessages = createMessagesSchema((message, index, list) => {
  const role = getMember(message, 'role');
  if (typeof role === 'string' && !messageRole.safeParse(role).success)
    return {
      path: ['role'],
      message: `\`${role.slice(0, 100)}\` is not a role. ${CONVERSIONS.get(role) ?? OTHER_ROLE}`,
    };
  if (Array.isArray(getMember(message, 'tool_calls'))) return { path: ['tool_calls'], message: TOOL_CALLS };
  return (
    findMessageFault(message) ??
    findBlockFault(getMember(message, 'content'), ['content']) ??
    (role === 'system' ? findPlacementFault(list, index) : undefined)
  );
});

/**
 * @returns the fault of a system message with content that the API accepts in no later request. It must follow a user message,
 *   or the result of a server tool, and precede an assistant message
 */
function findPlacementFault(list: readonly unknown[], index: number): MessageFault | undefined {
  if (!hasContent(list[index])) return undefined;
  if (index === 0)
    return {
      path: [],
      message:
        'a system message cannot be the first one. Send the initial system prompt as `system` of the conversation.',
    };
  const before = getMember(list[index - 1], 'role');
  const after = getMember(list[index + 1], 'role');
  const isAfterQuestion = before !== 'assistant' || endsWithServerToolResult(list[index - 1]);
  if (isAfterQuestion && (after === 'assistant' || after === 'system')) return undefined;
  return {
    path: [],
    message:
      'a system message must follow a user message and precede an assistant message. Move it, or add its text to a user message.',
  };
}

function hasContent(message: unknown): boolean {
  const content = getMember(message, 'content');
  return content !== undefined && getMember(content, 'length') !== 0;
}

function endsWithServerToolResult(message: unknown): boolean {
  const content = getMember(message, 'content');
  const type = Array.isArray(content) ? getMember(content.at(-1), 'type') : undefined;
  return typeof type === 'string' && /^(?!tool_).*_tool_result$/.test(type);
}

/** @returns the first item of a list of blocks, or of a list within one of them, that no version of the API can accept */
function findBlockFault(content: unknown, path: PropertyKey[]): MessageFault | undefined {
  if (!Array.isArray(content)) return undefined;
  for (const [index, block] of content.entries()) {
    const at = [...path, index];
    if (!isObject(block)) return { path: at, message: 'Input should be a content block: an object with `type`' };
    if (typeof block.type !== 'string' || block.type === '')
      return { path: [...at, 'type'], message: 'Input should be the type of a content block, such as `text`' };
    // Go down one level only, to the content of tool results.
    const within = path.length === 1 ? findBlockFault(block.content, [...at, 'content']) : undefined;
    if (within) return within;
  }
  return undefined;
}
