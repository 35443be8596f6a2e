/**
 * Turns calls of the edge into the blocks that clients see, and back. Back for a history from elsewhere, such as an import.
 */
import { runInSteps, type SteppedWork } from '../../kit/async/run-in-steps.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { computeBase64ByteLength } from '../../kit/http/bytes.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { replaceBodyText } from '../../kit/http/read-json.ts';
import { editJson, iterateArrayItems, parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { isObject, type JsonObject, parseJsonObject, toJsonText } from '../../kit/json/object.ts';
import { EDGE_SERVER_NAME } from '../../registry/tools/edge-tools.ts';
import { MOST_IN_A_TURN, TOO_MANY_IN_A_TURN } from '../history/history.schema.ts';
import { formatObjectFromTexts } from './message-json.ts';

/** To read a block is not much: of short ones so many are a unit, and so many steps of an answer. */
const CHARACTERS_PER_UNIT = 1_000;
const STEPS_PER_UNIT = 10;

const NO_RESULT = 'The result of this call is not known.';

/** @returns a call as it is shown. Clients lose an input that comes in deltas, so the block begins with the whole input. */
export function toShownCall({ id, name, input }: JsonObject): JsonObject {
  return { type: 'mcp_tool_use', id, name, input, server_name: EDGE_SERVER_NAME };
}

/** @returns the result of a call as it is shown: a list of texts, since some clients accept nothing else. */
export function toShownResult(id: string, content: unknown, isError: boolean): JsonObject {
  const blocks = Array.isArray(content) ? content.filter(isObject) : [{ text: content }];
  const texts = blocks.map(({ text, source }) => (isObject(source) ? formatImagePlaceholder(source) : text));
  const shown = texts.map((text) => ({ type: 'text', text: toJsonText(text ?? '') }));
  return { type: 'mcp_tool_result', tool_use_id: id, is_error: isError, content: shown };
}

function formatImagePlaceholder({ media_type, data }: JsonObject): string {
  return `[${toJsonText(media_type)}, ${Math.ceil(computeBase64ByteLength(toJsonText(data)) / 1_000)} kB]`;
}

/**
 * Turns the blocks by which an edge has shown its calls back into calls and results, as the API accepts them. An answer
 * becomes the messages of its steps.
 *
 * @param text a body that is JSON. Only a first turn can have such blocks in new messages
 * @returns the same text if it has no such blocks
 * @throws ApiError 400 if the steps are more messages than a turn takes
 */
export async function restoreEdgeCallsInText(text: string): Promise<string> {
  const replayed = mightContainToolBlocks(text) ? await runInSteps(restoreEdgeCallsInSteps(text)) : undefined;
  if (replayed && replayed.messages.length > MOST_IN_A_TURN)
    throw createInvalidRequestError(`messages: ${TOO_MANY_IN_A_TURN}.`);
  return replayed?.text ?? text;
}

/** The same for a request without a conversation. @returns the body itself if it has no such blocks, as most do not */
export async function restoreEdgeCallsInBody(body: JsonBody): Promise<JsonBody> {
  const { messages } = body.json;
  if (!Array.isArray(messages) || !messages.some(hasEdgeCall)) return body;
  const replayed = await runInSteps(restoreEdgeCallsInSteps(body.text));
  return replayed ? replaceBodyText(body, replayed.text, { ...body.json, messages: replayed.messages }) : body;
}

function* restoreEdgeCallsInSteps(
  text: string,
): SteppedWork<{ text: string; messages: readonly unknown[] } | undefined> {
  const list = parseMemberTexts(text).get('messages') ?? '[]';
  yield list.length;
  const texts = splitArrayItems(list);
  const replayed = yield* restoreEdgeCallsInMessages(texts);
  if (replayed === texts) return undefined;
  const messages = `[${replayed.join(',')}]`;
  yield messages.length;
  const edited = editJson(text, { messages });
  yield messages.length;
  const parsed = JSON.parse(messages) as unknown[];
  yield messages.length;
  return { text: edited, messages: parsed };
}

/** A block of a message, and its JSON text. */
interface BlockWithJsonText {
  block: JsonObject;
  text: string;
}

/** The messages of a history from elsewhere, read for the blocks of an edge in them. */
class EdgeCallRestorer {
  readonly calls = new Set<string>();
  /** Some clients move results after the text that the model wrote about them, or into another message. */
  readonly #results = new Map<string, BlockWithJsonText>();
  readonly #all: string[] = [];
  /** The results of the last step. The user's next message begins with them. */
  #pendingCallIds: string[] = [];
  /** The ids of the client's own calls in that step. */
  #open: string[] = [];

  /** Collects the calls and results of a message. */
  *recordCallsAndResults(text: string): SteppedWork<void> {
    yield text.length;
    if (!mightContainToolBlocks(text)) return;
    for (const one of yield* parseBlocksWithText(parseMemberTexts(text))) {
      if (isEdgeCall(one.block)) this.calls.add(toJsonText(one.block.id));
      else if (one.block.type === 'mcp_tool_result') this.#results.set(toJsonText(one.block.tool_use_id), one);
    }
  }

  /** Adds the same message as those that the API accepts. All messages have been noted before. */
  *addRestoredMessage(text: string): SteppedWork<void> {
    yield text.length;
    const isServed = mightContainToolBlocks(text);
    if (!isServed && this.#pendingCallIds.length === 0) {
      this.#all.push(text);
      return;
    }
    const members = parseMemberTexts(text);
    const blocks = yield* parseBlocksWithText(members);
    const role = members.get('role');
    const isResultOfEdgeCall = ({ block: { type, tool_use_id } }: BlockWithJsonText) =>
      type === 'mcp_tool_result' && this.calls.has(toJsonText(tool_use_id));
    if (this.#pendingCallIds.length > 0 && role === '"user"' && hasExtensibleContent(members)) {
      const own = blocks.filter((one) => !isResultOfEdgeCall(one)).map((one) => one.text);
      this.#all.push(editJson(text, { content: `[${[...this.#pendingCallIds, ...own].join(',')}]` }));
      this.#pendingCallIds = [];
    } else if (role === '"assistant"' && blocks.some((one) => isEdgeCall(one.block) || isResultOfEdgeCall(one))) {
      for (const [at, step] of splitIntoSteps(blocks, isResultOfEdgeCall).entries()) {
        if (at % STEPS_PER_UNIT === 0) yield 0;
        this.#addStepMessages(step);
      }
    } else {
      this.#addPendingResults();
      this.#all.push(text);
    }
  }

  #addStepMessages(step: readonly BlockWithJsonText[]): void {
    this.#addPendingResults();
    const own = step.map(({ block, text }) => (isEdgeCall(block) ? formatToolCall(text) : text));
    this.#all.push(formatMessage('assistant', own));
    const collectIds = (isOne: (block: JsonObject) => boolean) =>
      step.flatMap(({ block }) => (isOne(block) ? [toJsonText(block.id)] : []));
    this.#pendingCallIds = collectIds(isEdgeCall).map((id) => formatToolResult(id, this.#results.get(id)));
    this.#open = collectIds(({ type }) => type === 'tool_use');
  }

  #addPendingResults(): void {
    if (this.#pendingCallIds.length > 0) this.#all.push(formatMessage('user', this.#pendingCallIds));
    this.#pendingCallIds = [];
  }

  getRestoredMessages(isWhole: boolean): string[] {
    if (isWhole && this.#pendingCallIds.length > 0)
      this.#pendingCallIds.push(...this.#open.map((id) => formatToolResult(id, undefined)));
    this.#addPendingResults();
    return this.#all;
  }
}

/**
 * Does in steps, by blocks, what `restoreEdgeCallsInText` does.
 *
 * @param texts messages as JSON texts
 * @param isWhole whether these are all messages. Then client calls that follow the last calls of the edge get an error as their
 *   result, because the API requires all results together
 * @returns messages as JSON texts; the same list if no edge has shown a call in it
 */
export function* restoreEdgeCallsInMessages(texts: string[], isWhole = false): SteppedWork<string[]> {
  const history = new EdgeCallRestorer();
  for (const text of texts) yield* history.recordCallsAndResults(text);
  if (history.calls.size === 0) return texts;
  for (const text of texts) yield* history.addRestoredMessage(text);
  return history.getRestoredMessages(isWhole);
}

/** @returns whether a message, as JSON, may have a block of a call or a result. Names in a text may be escaped. */
function mightContainToolBlocks(text: string): boolean {
  return text.includes('mcp_tool_') || text.includes('\\u00');
}

/** @returns whether blocks can be added to the content of a message. */
function hasExtensibleContent(message: ReadonlyMap<string, string>): boolean {
  return /^["[]/.test(message.get('content') ?? '');
}

/** @returns the blocks of a message, without those that are not objects; a string is one text block */
function* parseBlocksWithText(message: ReadonlyMap<string, string>): SteppedWork<BlockWithJsonText[]> {
  const content = message.get('content') ?? '[]';
  const texts = content.startsWith('"')
    ? [`{"type":"text","text":${content}}`]
    : content.startsWith('[')
      ? iterateArrayItems(content)
      : [];
  const blocks: BlockWithJsonText[] = [];
  let characters = 0;
  for (const text of texts) {
    characters += text.length;
    if (characters > CHARACTERS_PER_UNIT) {
      yield characters;
      characters = 0;
    }
    const block = parseJsonObject(text);
    if (block) blocks.push({ block, text });
  }
  return blocks;
}

/** @returns the blocks of each step of an answer, without the results. What follows results belongs to the next step. */
function splitIntoSteps(
  blocks: readonly BlockWithJsonText[],
  isResult: (block: BlockWithJsonText) => boolean,
): BlockWithJsonText[][] {
  const steps: BlockWithJsonText[][] = [];
  let isOpen = false;
  for (const one of blocks) {
    if (isResult(one)) isOpen = false;
    else if (isOpen) steps.at(-1)?.push(one);
    else {
      steps.push([one]);
      isOpen = true;
    }
  }
  return steps;
}

function formatToolCall(text: string): string {
  const members = parseMemberTexts(text);
  const getMemberText = (name: string) => members.get(name) ?? '{}';
  return formatObjectFromTexts({
    type: '"tool_use"',
    id: getMemberText('id'),
    name: getMemberText('name'),
    input: getMemberText('input'),
  });
}

function formatToolResult(id: string, result: BlockWithJsonText | undefined): string {
  const content = result ? (parseMemberTexts(result.text).get('content') ?? '""') : JSON.stringify(NO_RESULT);
  const error = !result || result.block.is_error === true ? { is_error: 'true' } : {};
  return formatObjectFromTexts({ type: '"tool_result"', tool_use_id: JSON.stringify(id), content, ...error });
}

function formatMessage(role: string, blocks: readonly string[]): string {
  return formatObjectFromTexts({ role: JSON.stringify(role), content: `[${blocks.join(',')}]` });
}

function hasEdgeCall(message: unknown): boolean {
  if (!isObject(message) || message.role !== 'assistant') return false;
  return Array.isArray(message.content) && message.content.some(isEdgeCall);
}

/** @returns whether a block is a call of the edge. A malformed block is not: the upstream judges it. */
function isEdgeCall(block: unknown): boolean {
  if (!isObject(block) || block.type !== 'mcp_tool_use' || block.server_name !== EDGE_SERVER_NAME) return false;
  return typeof block.id === 'string' && typeof block.name === 'string';
}
