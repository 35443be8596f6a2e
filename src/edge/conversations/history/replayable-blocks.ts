/** Chooses the blocks of an answer that go into the history: only blocks that the API accepts in the next request. */

import { isObject, type JsonObject, toJsonText } from '../../kit/json/object.ts';

/** A content block while it is streamed. */
export interface StreamedContentBlock {
  value: JsonObject;
  /** Whether `content_block_stop` is still to come. */
  isOpen: boolean;
  /** Whether the JSON of its input does not parse, because the answer was cut off at a limit. */
  isBroken: boolean;
}

/** How an answer ended: completed by the API, or interrupted. */
export type AnswerEnd = { complete: true; stopReason: string | null } | { complete: false };

/** Stop reasons after which the result of a server tool may still come, with the next answer. */
const PENDING_STOP_REASONS: ReadonlySet<string> = new Set(['pause_turn', 'tool_use']);

/**
 * Chooses the replayable blocks of an answer, unchanged.
 *
 * Leaves out blank text and thinking at the end (the API sends both, but does not accept them), and calls whose input was cut
 * off. In an interrupted answer it also leaves out client tool calls, thinking without a signature, server tools without
 * results, and unfinished blocks other than text.
 */
export function selectReplayableBlocks(blocks: readonly StreamedContentBlock[], ending: AnswerEnd): JsonObject[] {
  const mayComeLater = ending.complete && canHavePendingServerResults(ending.stopReason);
  const results = new Set(blocks.filter(({ isOpen: open }) => !open).map(({ value }) => toJsonText(value.tool_use_id)));
  const isReplayable = (block: StreamedContentBlock) => {
    const { value, isOpen: open, isBroken: broken } = block;
    if (broken) return false;
    if (value.type === 'text') return !isBlank(value.text);
    if (!ending.complete) {
      if (open || value.type === 'tool_use') return false;
      if (value.type === 'thinking' && !value.signature) return false;
    }
    if (isServerToolCall(value.type)) return mayComeLater || results.has(toJsonText(value.id));
    return true;
  };
  // Drop all thinking after the first omitted block: a thinking block is valid only if nothing before it has changed. An
  // omitted text block is no such change, because only blank text is omitted, which the API does not accept in a request. See
  // https://platform.claude.com/docs/build-with-claude/preserved-thinking
  const first = blocks.findIndex((block) => block.value.type !== 'text' && !isReplayable(block));
  const replayable = blocks.filter((block, at) => {
    return isReplayable(block) && !(first >= 0 && at > first && isThinkingBlock(block.value.type));
  });
  const values = replayable.map(({ value, isOpen: open }) => (open ? dropHalfSurrogate(value) : value));
  while (isThinkingBlock(values.at(-1)?.type)) values.pop();
  return values;
}

/** @returns whether results of server tools may still come in the next answer. */
export function canHavePendingServerResults(stopReason: string | null): boolean {
  return PENDING_STOP_REASONS.has(stopReason ?? '');
}

/** @returns the content of a stored answer, without server tool calls that have no result. */
export function removePendingServerCalls(content: readonly JsonObject[], results: ReadonlySet<string>): JsonObject[] {
  const values = content.filter(({ type, id }) => !isServerToolCall(type) || results.has(toJsonText(id)));
  while (isThinkingBlock(values.at(-1)?.type)) values.pop();
  return values;
}

/**
 * Removes blocks from an answer, with all signed blocks after them, which are bound to what precedes them. Also removes
 * thinking at the end.
 */
export function removeBlocksAndBoundThinking(
  content: readonly JsonObject[],
  isGone: (block: JsonObject) => boolean,
): JsonObject[] {
  const first = content.findIndex(isGone);
  if (first < 0) return [...content];
  const values = content.filter((block, at) => !isGone(block) && !(at > first && isThinkingBlock(block.type)));
  while (isThinkingBlock(values.at(-1)?.type)) values.pop();
  return values;
}

/** @returns whether a text is blank, which the API does not accept as content. */
export function isBlank(text: unknown): boolean {
  return typeof text !== 'string' || text.trim() === '';
}

/** @returns the ids of the client tool calls in a message's content, in order. */
export function listToolCallIds(content: unknown): string[] {
  return listIdsOfBlockType(content, 'tool_use', 'id');
}

/** @returns the ids of the calls whose results are in a message's content. */
export function listAnsweredCallIds(content: unknown): string[] {
  return listIdsOfBlockType(content, 'tool_result', 'tool_use_id');
}

function listIdsOfBlockType(content: unknown, type: string, key: string): string[] {
  if (!Array.isArray(content)) return [];
  return content
    .filter((block) => isObject(block) && block.type === type)
    .map((block: JsonObject) => toJsonText(block[key]));
}

/** @returns whether a type is that of a call whose tool the API calls itself */
export function isServerToolCall(type: unknown): boolean {
  return type === 'server_tool_use' || type === 'mcp_tool_use';
}

function isThinkingBlock(type: unknown): boolean {
  return type === 'thinking' || type === 'redacted_thinking';
}

/** Removes half a surrogate pair from the end of a text. */
function dropHalfSurrogate(value: JsonObject): JsonObject {
  if (typeof value.text !== 'string' || !/[\ud800-\udbff]$/.test(value.text)) return value;
  return { ...value, text: value.text.slice(0, -1) };
}
