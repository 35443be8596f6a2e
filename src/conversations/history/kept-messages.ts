/** Keeps of rows, as conversations write them, what goes up as messages. Everything else belongs to where they come from. */

import { type Steps, withEach } from '../../async/in-steps.ts';
import { edit, memberTexts } from '../../json/edit.ts';
import { asText, isObject, parseObject } from '../../json/object.ts';
import { hasThinking, unboundBlocks } from '../storage/message-text.ts';
import { objectText } from './message-json.ts';
import { withoutPending } from './replayable-blocks.ts';

/** How much an import leaves out. */
export interface LeftOut {
  /** Blocks of thinking. */
  thinking: number;
  /** Messages that do not go up: refused ones, and those without content. */
  messages: number;
  /** Calls of the API's own tools that have no result. */
  calls: number;
}

const EMPTY = /^(?:""|\[\s*\])$/;

/**
 * Keeps role and content of each message, without thinking: the API binds it to the conversation where it was made. What has no
 * content then is left out. Rows of one answer become one message.
 *
 * @param texts messages as JSON texts, which the schema of a conversation has accepted
 * @param left counts what is left out
 * @returns messages as JSON texts, too
 */
export function* keptMessages(texts: readonly string[], left: LeftOut): Steps<string[]> {
  const kept: string[] = [];
  /** The last message. What follows it may be joined to it. */
  let last: { role: string; contents: string[]; config?: Record<string, string> } | undefined;
  const close = () => {
    if (last) kept.push(objectText({ role: last.role, content: joined(last.contents), ...last.config }));
  };
  yield* withEach(texts, (text) => {
    const members = memberTexts(text);
    const role = members.get('role') ?? '';
    const { content, thinking } = withoutBound(members.get('content') ?? '[]');
    const isRefused = members.get('status') === '"refused"';
    const output_config = role === '"system"' ? members.get('output_config') : undefined;
    if (!isRefused) left.thinking += thinking;
    if (isRefused || (EMPTY.test(content) && !output_config?.startsWith('{'))) {
      if (isRefused || thinking === 0) left.messages += 1;
      return;
    }
    // An answer that was paused has a row for each part.
    const isPart = role === '"assistant"' && last?.role === role && members.get('type') === '"message"';
    if (last && isPart) {
      last.contents.push(content);
      return;
    }
    close();
    last = { role, contents: [content], ...(output_config && { config: { output_config } }) };
  });
  close();
  return kept;
}

function withoutBound(content: string): { content: string; thinking: number } {
  if (!content.startsWith('[') || !hasThinking(content)) return { content, thinking: 0 };
  const { blocks, thinking } = unboundBlocks(content);
  return { content: `[${blocks.join(',')}]`, thinking };
}

/** @param contents the JSON texts of contents that are not empty. @returns the JSON text of all of them as one */
function joined([first = '', ...more]: readonly string[]): string {
  if (more.length === 0) return first;
  const blocks = [first, ...more].map((one) =>
    one.startsWith('[') ? one.slice(1, -1) : `{"type":"text","text":${one}}`,
  );
  return `[${blocks.join(',')}]`;
}

/**
 * Takes from the end of a history the calls of the API's tools that wait for a result: only the conversation where the answer was
 * paused can go on with it.
 *
 * @param texts messages as JSON texts. The last one is changed
 */
export function dropPendingCalls(texts: string[], left: LeftOut): void {
  const text = texts.at(-1) ?? '';
  const { role, content } = parseObject(text) ?? {};
  if (role !== 'assistant' || !Array.isArray(content)) return;
  const blocks = content.filter(isObject);
  const results = new Set(blocks.map(({ tool_use_id }) => asText(tool_use_id)));
  const rest = withoutPending(blocks, results);
  if (rest.length === blocks.length) return;
  left.calls += blocks.length - rest.length;
  texts.pop();
  if (rest.length > 0) texts.push(edit(text, { content: JSON.stringify(rest) }));
}
