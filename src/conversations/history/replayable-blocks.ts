/** What of an answer goes into the history: only what the API takes back in the next request. */
import type { Json } from '../../json/object.ts';
import { isObject } from '../../json/object.ts';

/** A content block while it is being said. */
export interface Block {
  value: Json;
  /** Whether `content_block_stop` is still to come. */
  open: boolean;
  /** Whether the JSON of its input does not parse: it was cut by a limit. */
  broken: boolean;
}

/** How an answer ended: as the API ends it, or in the middle. */
export type AnswerEnd = { complete: true; stopReason: string | null } | { complete: false };

/** Ends at which a tool that the API runs may still owe its result: it comes with the next answer. */
const RESULTS_TO_COME: ReadonlySet<string> = new Set(['pause_turn', 'tool_use']);

/**
 * Chooses the blocks of an answer that the history keeps, as they came.
 *
 * Left out: blank text and thinking at the end, which the API itself may send and does not take back; a tool's input
 * that was cut. Of an answer that did not end by itself also what promises more than was said: client tool calls,
 * thinking without its signature, server tools without their results, unfinished blocks that are not text.
 */
export function replayableBlocks(blocks: readonly Block[], ending: AnswerEnd): Json[] {
  const owing = ending.complete && isPending(ending.stopReason);
  const results = new Set(blocks.filter(({ open }) => !open).map(({ value }) => String(value.tool_use_id)));
  const kept = blocks.filter((block) => {
    const { value, open, broken } = block;
    if (broken) return false;
    if (value.type === 'text') return !isBlank(value.text);
    if (!ending.complete) {
      if (open || value.type === 'tool_use') return false;
      if (value.type === 'thinking' && !value.signature) return false;
    }
    if (isServed(value.type)) return owing || results.has(String(value.id));
    return true;
  });
  const values = kept.map(({ value, open }) => (open ? wellEnded(value) : value));
  while (isThinkingBlock(values.at(-1)?.type)) values.pop();
  return values;
}

/** @returns whether an answer that ends so may still be owed results of the API's own tools. */
export function isPending(stopReason: string | null): boolean {
  return RESULTS_TO_COME.has(stopReason ?? '');
}

/** @returns a kept answer without the API's own tool calls whose results have not come, and will not any more. */
export function withoutPending(content: readonly Json[], results: ReadonlySet<string>): Json[] {
  const values = content.filter(({ type, id }) => !isServed(type) || results.has(String(id)));
  while (isThinkingBlock(values.at(-1)?.type)) values.pop();
  return values;
}

/** @returns whether text is nothing that the API would take as content. */
export function isBlank(text: unknown): boolean {
  return typeof text !== 'string' || text.trim() === '';
}

/** @returns the ids of the client's tools that a content calls, in order. */
export function calledTools(content: unknown): string[] {
  return idsIn(content, 'tool_use', 'id');
}

/** @returns the ids of the calls that a content answers. */
export function answeredTools(content: unknown): string[] {
  return idsIn(content, 'tool_result', 'tool_use_id');
}

function idsIn(content: unknown, type: string, key: string): string[] {
  if (!Array.isArray(content)) return [];
  return content.filter((block) => isObject(block) && block.type === type).map((block: Json) => String(block[key]));
}

function isServed(type: unknown): boolean {
  return type === 'server_tool_use' || type === 'mcp_tool_use';
}

function isThinkingBlock(type: unknown): boolean {
  return type === 'thinking' || type === 'redacted_thinking';
}

/** A character whose second half had not come yet is no text. */
function wellEnded(value: Json): Json {
  if (typeof value.text !== 'string' || !/[\ud800-\udbff]$/.test(value.text)) return value;
  return { ...value, text: value.text.slice(0, -1) };
}
