/**
 * Blocks of a history that the API no longer accepts: an image whose URL has expired, a deleted file, content that another model
 * has encrypted. The API's words differ between upstreams and change, so they only help to find the block.
 */

import { getMember, isObject, type JsonObject, toJsonText } from '../../kit/json/object.ts';
import type { ErrorPath } from './error-path.ts';
import { convertResultsToText } from './omitted-calls.ts';
import { isServerToolCall } from './replayable-blocks.ts';

/** A message of a request, as JSON. */
interface ParsedRequestMessage {
  role?: unknown;
  content?: unknown;
}

/**
 * The keys of blocks that are not sent. A key identifies a block by what it refers to, not by its position, so that one
 * rejection covers each repetition of an image.
 */
type OmittedBlocks = ReadonlySet<string>;

/** The key of all thinking: each thinking block is bound to the blocks before it, so either all of them are sent or none. */
export const ALL_THINKING = 'thinking';
const TYPES_OF_THINKING: ReadonlySet<unknown> = new Set([ALL_THINKING, 'redacted_thinking', 'connector_text']);

/** The name of a block in the sentence that replaces it. */
const NAMES_OF_BLOCKS: ReadonlyMap<unknown, string> = new Map([
  ['image', 'an image'],
  ['document', 'a document'],
  ['container_upload', 'a file'],
  ['tool_use', 'a call of a tool'],
  ['tool_result', 'a result of a tool'],
  ['text', 'a text'],
]);
const REPLACEMENT_SENTENCE = /^\[.{1,40} that can no longer be read\]$/;
const createReplacementSentence = (type: unknown) =>
  `[${NAMES_OF_BLOCKS.get(type) ?? 'a part of this conversation'} that can no longer be read]`;

/** Blocks that a rejection names by a path, with the number of their message. */
export interface RejectedBlockReference {
  at: number;
  key: string;
}

/** @returns the key of a block */
function createBlockKey(block: JsonObject): string {
  const { type, source, id, tool_use_id: of, text } = block;
  const external = createExternalBlockKey(block);
  if (external !== undefined) return external;
  if (TYPES_OF_THINKING.has(type)) return ALL_THINKING;
  if (type === 'tool_use') return `call ${toJsonText(id)}`;
  if (type === 'tool_result') return `result ${toJsonText(of)}`;
  if (isServerToolCall(type)) return `served ${toJsonText(id)}`;
  if (typeof of === 'string') return `served ${of}`;
  if (type === 'text')
    return hasCitations(block) ? `cited ${JSON.stringify([text, block.citations])}` : `text ${toJsonText(text)}`;
  const data = getMember(source, 'data');
  if (typeof data === 'string') return `data ${data}`;
  return `json ${JSON.stringify({ ...block, cache_control: undefined })}`;
}

/** @returns the key of a block whose content is read from elsewhere; undefined for any other */
function createExternalBlockKey({ source, file_id }: JsonObject): string | undefined {
  const [url, file] = [getMember(source, 'url'), getMember(source, 'file_id') ?? file_id];
  if (typeof url === 'string') return `url ${url}`;
  return typeof file === 'string' ? createFileBlockKey(file) : undefined;
}

/** @returns the key of all blocks that refer to a file */
export function createFileBlockKey(id: string): string {
  return `file ${id}`;
}

/** @returns whether a block's content is read from elsewhere, where it can end */
export function isExternalBlockKey(key: string): boolean {
  return key.startsWith('url ') || key.startsWith('file ');
}

function hasCitations({ citations }: JsonObject): boolean {
  return Array.isArray(citations) && citations.length > 0;
}

/** @returns the blocks of a content; a text is one block */
function toContentBlockList(content: unknown): JsonObject[] {
  if (typeof content === 'string') return content === '' ? [] : [{ type: 'text', text: content }];
  return Array.isArray(content) ? content.filter(isObject) : [];
}

/** @returns the blocks within a tool's result; none for any other block */
function listBlocksInToolResult({ type, content }: JsonObject): JsonObject[] {
  return type === 'tool_result' ? toContentBlockList(content) : [];
}

/**
 * Finds the blocks that a rejection names by a path.
 *
 * @param messages the messages that were sent
 */
export function findBlocksAtPath(
  path: ErrorPath | undefined,
  messages: readonly ParsedRequestMessage[],
): RejectedBlockReference[] {
  if (!path || 'tool' in path) return [];
  const { message: at, block, inner } = path;
  const { content } = messages[at] ?? {};
  const blocks = toContentBlockList(content);
  if (block === undefined) {
    const others = blocks.filter(({ type }) => type !== 'text');
    return (others.length > 0 ? others : blocks).map((one) => ({ at, key: createBlockKey(one) }));
  }
  // The API's error paths treat a string `content` as a list with one text block, so look up the position in that list.
  const outer =
    typeof content === 'string' ? blocks[0] : Array.isArray(content) ? toBlockObject(content[block]) : undefined;
  if (!outer) return [];
  const one = inner === undefined || !Array.isArray(outer.content) ? undefined : toBlockObject(outer.content[inner]);
  return [{ at, key: createBlockKey(one && outer.type === 'tool_result' ? one : outer) }];
}

function toBlockObject(value: unknown): JsonObject | undefined {
  return isObject(value) && !(value.type === 'text' && REPLACEMENT_SENTENCE.test(toJsonText(value.text)))
    ? value
    : undefined;
}

/** @returns the keys of blocks whose URL or file a rejection names */
export function findNamedKeys(words: string, messages: readonly ParsedRequestMessage[]): string[] {
  return listExternalBlockKeys(messages).filter((key) => {
    const name = key.slice(key.indexOf(' ') + 1);
    return words.includes(name) || words.includes(JSON.stringify(name).slice(1, -1));
  });
}

/** @returns the keys of blocks that are read from elsewhere, oldest first, each once */
function listExternalBlockKeys(messages: readonly ParsedRequestMessage[]): string[] {
  return findKeys(messages, (block) => createExternalBlockKey(block) !== undefined);
}

function findKeys(messages: readonly ParsedRequestMessage[], isMeant: (block: JsonObject) => boolean): string[] {
  const all = messages.flatMap(({ content }) =>
    toContentBlockList(content).flatMap((block) => [block, ...listBlocksInToolResult(block)]),
  );
  return [...new Set(all.filter(isMeant).map(createBlockKey))];
}

/** The number of groups that come after the external blocks in `groupBlocksByLikelyRejection`. */
export const LATER_GROUPS = 4;

/**
 * Groups blocks by how likely it is that the API no longer accepts them, where its words name none. Text is not in any group.
 *
 * @returns keys: those of blocks read from elsewhere, of thinking, of encrypted content, of inline images and documents, and of
 *   the rest
 */
export function groupBlocksByLikelyRejection(messages: readonly ParsedRequestMessage[]): string[][] {
  const isOpaque = (block: JsonObject) =>
    isServerToolCall(block.type) || createBlockKey(block).startsWith('served ') || hasCitations(block);
  const isThinking = ({ type }: JsonObject) => TYPES_OF_THINKING.has(type);
  const isInline = ({ source }: JsonObject) => isObject(source) && createExternalBlockKey({ source }) === undefined;
  const isOther = (block: JsonObject) => block.type !== 'text' && !isThinking(block);
  return [
    listExternalBlockKeys(messages),
    ...[isThinking, isOpaque, isInline, isOther].map((isMeant) => findKeys(messages, isMeant)),
  ];
}

/**
 * Chooses which blocks to omit next if a rejection names none.
 *
 * @param triesLeft the number of tries that are left, including this one
 * @returns keys that are not omitted yet; undefined if there are none
 */
export function chooseNextBlocksToOmit(
  groups: readonly (readonly string[])[],
  omitted: OmittedBlocks,
  triesLeft: number,
): readonly string[] | undefined {
  for (const [index, group] of groups.entries()) {
    const rest = group.filter((key) => !omitted.has(key) && !(key === ALL_THINKING && omitted.size > 0));
    if (rest.length > 0) return index === 0 && triesLeft > LATER_GROUPS ? rest.slice(0, 1) : rest;
  }
  return undefined;
}

/** @returns the ids of the calls that are omitted */
export function listOmittedCallIds(omitted: OmittedBlocks): ReadonlySet<string> {
  return new Set([...omitted].flatMap((key) => (key.startsWith('call ') ? [key.slice(5)] : [])));
}

/**
 * Replaces omitted blocks by a sentence, and removes all thinking, because thinking is bound to the blocks before it.
 *
 * @returns undefined if no block of the content is omitted except thinking
 */
export function replaceOmittedBlocks(content: unknown, omitted: OmittedBlocks): JsonObject[] | undefined {
  const blocks = toContentBlockList(content);
  const calls = listOmittedCallIds(omitted);
  // Replace results before calls. An omitted call turns its result into text, and that text no longer matches the key of an
  // omitted result.
  const results = blocks.flatMap((block) =>
    block.type === 'tool_result' ? createReplacementBlocks(block, omitted) : [block],
  );
  const replaced = convertResultsToText(results, calls).flatMap((block) => createReplacementBlocks(block, omitted));
  const isSame = (before: readonly JsonObject[]) =>
    before.length === replaced.length && before.every((block, at) => block === replaced[at]);
  if (isSame(blocks)) return undefined;
  const rest = replaced.filter(({ type }) => !TYPES_OF_THINKING.has(type));
  // The API rejects a message without content, so if only thinking is left, send a sentence instead.
  return rest.length > 0 ? rest : [{ type: 'text', text: createReplacementSentence(undefined) }];
}

function createReplacementBlocks(block: JsonObject, omitted: OmittedBlocks): JsonObject[] {
  const { type, content, cache_control } = block;
  const key = createBlockKey(block);
  if (TYPES_OF_THINKING.has(type)) return [block];
  if (!omitted.has(key)) {
    if (type !== 'tool_result' || !Array.isArray(content)) return [block];
    const inner = content.flatMap((one: unknown) => (isObject(one) ? createReplacementBlocks(one, omitted) : []));
    return inner.every((one, at) => one === content[at]) ? [block] : [{ ...block, content: inner }];
  }
  const sentence = {
    type: 'text',
    text: createReplacementSentence(type),
    ...(cache_control !== undefined && { cache_control }),
  };
  if (type === 'tool_result') return [{ ...block, content: sentence.text }];
  if (isServerToolCall(type)) return [];
  if (key.startsWith('cited ')) {
    const { citations: _, ...text } = block;
    return [text];
  }
  return [sentence];
}
