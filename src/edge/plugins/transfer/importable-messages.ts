/**
 * Reduces the rows of a conversation to the messages that can be sent. Everything else belongs to the original conversation.
 */

import { findPendingCallsMadeByCode, isCallMadeByCode } from '../../conversations/history/container.ts';
import { convertResultsToText } from '../../conversations/history/omitted-calls.ts';
import {
  isBlank,
  listAnsweredCallIds,
  removePendingServerCalls,
} from '../../conversations/history/replayable-blocks.ts';
import { hasThinking, splitBlocksAndCountThinking } from '../../conversations/history/storage/message-text.ts';
import type { ImportOmissions } from '../../conversations/object/conversations-answers.schema.ts';
import { formatObjectFromTexts } from '../../conversations/views/message-json.ts';
import { forEachInSteps, type SteppedWork } from '../../kit/async/run-in-steps.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { editJson, parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { parseMessageRememberingInputs } from '../../kit/json/input-texts.ts';
import { isObject, type JsonObject, parseJsonObject, toJsonText } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';

/** A message as it was sent: its members as JSON texts. */
interface ImportedMessageRow {
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
 * Keeps role and content of each message, without thinking, because the API binds it to its conversation. Messages without any
 * remaining content are left out, and so are blank texts, which the API does not accept. Rows of one answer become one message.
 *
 * @param texts messages as JSON texts, which the schema of a conversation has accepted
 * @param left counts what is left out
 * @returns messages as JSON texts
 * @throws ApiError 400 for a message that only has blank texts
 */
export function* cleanImportedMessages(texts: Iterable<string>, left: ImportOmissions): SteppedWork<string[]> {
  const messages = new ImportedMessageCleaner(left);
  yield* forEachInSteps(texts, (text, index) => messages.addMessage(parseImportedMessageRow(text, index)));
  return messages.finishMessages();
}

function parseImportedMessageRow(text: string, index: number): ImportedMessageRow {
  const members = parseMemberTexts(text);
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

class ImportedMessageCleaner {
  readonly #left: ImportOmissions;
  readonly #all: string[] = [];
  /** The last message. What follows it may be joined to it. */
  #last: { row: ImportedMessageRow; contents: string[] } | undefined;

  constructor(left: ImportOmissions) {
    this.#left = left;
  }

  addMessage(row: ImportedMessageRow): void {
    if (row.isRefused) this.#left.messages += 1;
    else this.#addCleanedMessage(row);
  }

  #addCleanedMessage(row: ImportedMessageRow): void {
    const { content: unbound, thinking } = removeSignedThinking(row.content);
    const { content, blank } = removeBlankText(unbound);
    this.#left.thinking += thinking;
    this.#left.blank += blank;
    if (EMPTY.test(content) && !row.config?.startsWith('{')) {
      if (thinking > 0) return;
      if (blank > 0 || (content !== '""' && content.startsWith('"')))
        throw createInvalidRequestError(
          `messages.${row.index}: contains only blank text. Remove this message, or add its text.`,
        );
      this.#left.messages += 1;
      return;
    }
    // Join the parts of a paused answer into one message: the backup has a row for each part.
    const isPart = row.isRow && row.role === ASSISTANT && this.#last?.row.role === ASSISTANT;
    if (isPart) this.#last?.contents.push(content);
    else {
      if (row.isRow) this.#removeUnansweredCalls(content);
      this.#finishMessage();
      this.#last = { row, contents: [content] };
    }
  }

  /**
   * Removes the calls without a result from the last answer, because their results were not sent. @param next the content after
   * it
   */
  #removeUnansweredCalls(next: string): void {
    if (!this.#last?.row.isRow) return;
    const answered = new Set(listAnsweredCallIds(JSON.parse(next)));
    const isUnansweredCall = (text: string) => {
      const { type, id } = (text.includes('"tool_use"') && parseJsonObject(text)) || {};
      return type === 'tool_use' && !answered.has(toJsonText(id));
    };
    this.#last.contents = this.#last.contents.flatMap((content) => {
      if (!content.startsWith('[') || !content.includes('"tool_use"')) return content;
      const blocks = splitArrayItems(content);
      const closed = blocks.filter((text) => !isUnansweredCall(text));
      this.#left.calls += blocks.length - closed.length;
      return closed.length > 0 ? `[${closed.join(',')}]` : [];
    });
  }

  #finishMessage(): void {
    if (!this.#last || this.#last.contents.length === 0) return;
    const { row, contents } = this.#last;
    const { role, config } = row;
    this.#all.push(
      formatObjectFromTexts({ role, content: joinMessageContents(contents), ...(config && { output_config: config }) }),
    );
  }

  /** @returns the messages, as JSON texts */
  finishMessages(): string[] {
    this.#finishMessage();
    return this.#all;
  }
}

function removeSignedThinking(content: string): { content: string; thinking: number } {
  if (!content.startsWith('[') || !hasThinking(content)) return { content, thinking: 0 };
  const { blocks, thinking } = splitBlocksAndCountThinking(content);
  return { content: `[${blocks.join(',')}]`, thinking };
}

/** @returns a list of blocks without blank texts, also those in results, and how many there were; a string as it is */
function removeBlankText(content: string): { content: string; blank: number } {
  let blank = 0;
  if (!content.startsWith('[') || !MAYBE_BLANK.test(content)) return { content, blank };
  const blocks = splitArrayItems(content).flatMap((text) => {
    const { type, text: words, content: result } = (MAYBE_BLANK.test(text) && parseJsonObject(text)) || {};
    const isLeftOut = type === 'text' && isBlank(words);
    if (isLeftOut) blank += 1;
    if (isLeftOut || !toJsonText(type).endsWith('tool_result') || !Array.isArray(result)) return isLeftOut ? [] : text;
    const within = removeBlankText(parseMemberTexts(text).get('content') ?? '');
    blank += within.blank;
    return editJson(text, { content: within.content });
  });
  return { content: blank > 0 ? `[${blocks.join(',')}]` : content, blank };
}

/** @param contents the JSON texts of contents that are not empty. @returns the JSON text of all of them as one */
function joinMessageContents([first = '', ...more]: readonly string[]): string {
  if (more.length === 0) return first;
  const blocks = [first, ...more].map((one) =>
    one.startsWith('[') ? one.slice(1, -1) : `{"type":"text","text":${one}}`,
  );
  return `[${blocks.join(',')}]`;
}

/**
 * Removes server tool calls without a result from a history, because only the conversation in which they were made can continue
 * them. The results of calls that code has made become text.
 *
 * @param texts messages as JSON texts
 * @returns the remaining messages
 */
export function* removeUnansweredServerCalls(texts: readonly string[], left: ImportOmissions): SteppedWork<string[]> {
  const ended = new Set<string>();
  const answered = new Set<string>();
  const ofCode: JsonObject[] = [];
  yield* forEachInSteps(texts, (text) => {
    const { role, blocks } = parseToolMessageBlocks(text);
    for (const { tool_use_id } of blocks) (role === 'assistant' ? ended : answered).add(toJsonText(tool_use_id));
    if (role === 'assistant') ofCode.push(...blocks.filter(isCallMadeByCode));
  });
  const calls = findPendingCallsMadeByCode(ofCode, ended).filter((id) => answered.has(id));
  const lost = new Set(calls);
  const pieces: string[] = [];
  yield* forEachInSteps(texts, (text) => {
    const { role, blocks } = lost.size > 0 || MAY_BE_OPEN.test(text) ? parseToolMessageBlocks(text) : NO_BLOCKS;
    const isAnswer = role === 'assistant';
    const isRemovedCall = ({ type, id }: JsonObject) => type === 'tool_use' && lost.has(toJsonText(id));
    const rest = isAnswer
      ? removePendingServerCalls(blocks, ended).filter((block) => !isRemovedCall(block))
      : convertResultsToText(blocks, lost);
    if (isAnswer) left.calls += blocks.length - rest.length;
    if (rest.length === blocks.length && rest.every((block, at) => block === blocks[at])) pieces.push(text);
    else if (rest.length > 0) pieces.push(editJson(text, { content: stringifyWithRememberedTexts(rest) }));
  });
  return pieces;
}

/** Names of types may be escaped. */
const MAY_HAVE_CALLS = /tool_|\\u00/;
const MAY_BE_OPEN = /(?:server|mcp)_tool_use|\\u00/;
const NO_BLOCKS: { role?: unknown; blocks: JsonObject[] } = { blocks: [] };

/** @returns the blocks of a message; none of one without calls and results */
function parseToolMessageBlocks(text: string): typeof NO_BLOCKS {
  const { role, content } = (MAY_HAVE_CALLS.test(text) && parseMessageRememberingInputs(text)) || {};
  return Array.isArray(content) ? { role, blocks: content.filter(isObject) } : NO_BLOCKS;
}
