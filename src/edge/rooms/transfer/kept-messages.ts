/** Keeps of rows, as conversations write them, what goes up as messages. Everything else belongs to where they come from. */

import { type Steps, withEach } from '../../kit/async/in-steps.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import { readMessage } from '../../kit/json/block-texts.ts';
import { edit, itemTexts, memberTexts } from '../../kit/json/edit.ts';
import { writeJson } from '../../kit/json/kept-text.ts';
import { asText, isObject, parseObject } from '../../kit/json/object.ts';
import type { LeftOut } from '../../talk/conversations/conversations-answers.schema.ts';
import { objectText } from '../../talk/history/message-json.ts';
import { isBlank, withoutPending } from '../../talk/history/replayable-blocks.ts';
import { hasThinking, unboundBlocks } from '../../talk/storage/message-text.ts';

/** A message as it was sent: its members as JSON texts. */
interface SentRow {
  role: string;
  content: string;
  /** What only a system message has. */
  config: string | undefined;
  isRow: boolean;
  isRefused: boolean;
  /** Its place in the import. */
  index: number;
}

const EMPTY = /^(?:"(?:\s|\\[nrtf])*"|\[\s*\])$/;
const ASSISTANT = '"assistant"';
/** Matches where a text may be blank: it ends at once, or begins with white space or an escape. */
const MAYBE_BLANK = /"text"\s*:\s*"[\s\\"]/;

/**
 * Keeps role and content of each message, without thinking: the API binds it to the conversation where it was made. What has no
 * content then is left out, and blank texts are: the API accepts none. Rows of one answer become one message.
 *
 * @param texts messages as JSON texts, which the schema of a conversation has accepted
 * @param left counts what is left out
 * @returns messages as JSON texts, too
 * @throws ApiError 400 for a message that has nothing but blank texts
 */
export function* keptMessages(texts: Iterable<string>, left: LeftOut): Steps<string[]> {
  const kept = new KeptMessages(left);
  yield* withEach(texts, (text, index) => kept.add(sentRow(text, index)));
  return kept.end();
}

function sentRow(text: string, index: number): SentRow {
  const members = memberTexts(text);
  const role = members.get('role') ?? '';
  return {
    role,
    content: members.get('content') ?? '[]',
    config: role === '"system"' ? members.get('output_config') : undefined,
    isRow: members.get('type') === '"message"',
    isRefused: members.get('status') === '"refused"',
    index,
  };
}

class KeptMessages {
  readonly #left: LeftOut;
  readonly #all: string[] = [];
  /** The last message. What follows it may be joined to it. */
  #last: { row: SentRow; contents: string[] } | undefined;

  constructor(left: LeftOut) {
    this.#left = left;
  }

  add(row: SentRow): void {
    if (row.isRefused) this.#left.messages += 1;
    else this.#keep(row);
  }

  #keep(row: SentRow): void {
    const { content: said, thinking } = withoutBound(row.content);
    const { content, blank } = withoutBlank(said);
    this.#left.thinking += thinking;
    this.#left.blank += blank;
    if (EMPTY.test(content) && !row.config?.startsWith('{')) {
      if (thinking > 0) return;
      if (blank > 0 || (content !== '""' && content.startsWith('"')))
        throw invalidRequest(
          `messages.${row.index}: this message has only blank text. Leave it out, or write what it said.`,
        );
      this.#left.messages += 1;
      return;
    }
    // An answer that was paused has a row for each part.
    const isPart = row.isRow && row.role === ASSISTANT && this.#last?.row.role === ASSISTANT;
    if (isPart) this.#last?.contents.push(content);
    else {
      this.#close();
      this.#last = { row, contents: [content] };
    }
  }

  #close(): void {
    if (!this.#last) return;
    const { row, contents } = this.#last;
    const { role, config } = row;
    this.#all.push(objectText({ role, content: contentOfParts(contents), ...(config && { output_config: config }) }));
  }

  /** @returns the messages, as JSON texts */
  end(): string[] {
    this.#close();
    return this.#all;
  }
}

function withoutBound(content: string): { content: string; thinking: number } {
  if (!content.startsWith('[') || !hasThinking(content)) return { content, thinking: 0 };
  const { blocks, thinking } = unboundBlocks(content);
  return { content: `[${blocks.join(',')}]`, thinking };
}

/** @returns a list of blocks without blank texts, also those in results, and how many there were; a string as it is */
function withoutBlank(content: string): { content: string; blank: number } {
  let blank = 0;
  if (!content.startsWith('[') || !MAYBE_BLANK.test(content)) return { content, blank };
  const blocks = itemTexts(content).flatMap((text) => {
    const { type, text: said, content: result } = (MAYBE_BLANK.test(text) && parseObject(text)) || {};
    const isLeftOut = type === 'text' && isBlank(said);
    if (isLeftOut) blank += 1;
    if (isLeftOut || !asText(type).endsWith('tool_result') || !Array.isArray(result)) return isLeftOut ? [] : text;
    const within = withoutBlank(memberTexts(text).get('content') ?? '');
    blank += within.blank;
    return edit(text, { content: within.content });
  });
  return { content: blank > 0 ? `[${blocks.join(',')}]` : content, blank };
}

/** @param contents the JSON texts of contents that are not empty. @returns the JSON text of all of them as one */
function contentOfParts([first = '', ...more]: readonly string[]): string {
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
  const { role, content } = readMessage(text) ?? {};
  if (role !== 'assistant' || !Array.isArray(content)) return;
  const blocks = content.filter(isObject);
  const results = new Set(blocks.map(({ tool_use_id }) => asText(tool_use_id)));
  const rest = withoutPending(blocks, results);
  if (rest.length === blocks.length) return;
  left.calls += blocks.length - rest.length;
  texts.pop();
  if (rest.length > 0) texts.push(edit(text, { content: writeJson(rest) }));
}
