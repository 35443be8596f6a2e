/** Edits messages as JSON texts. Otherwise they are stored and sent again unchanged. */
import { editJson, parseMemberTexts, splitArrayItems } from '../../../kit/json/edit.ts';
import type { JsonObject } from '../../../kit/json/object.ts';

/** The most characters in a row. With three bytes each they stay below the platform's limit of 2 MB. */
export const PIECE_CHARACTERS = 600_000;

/**
 * Removes the cache breakpoints of a message: the API allows four in a request, and each turn may add some.
 *
 * @returns the text, otherwise unchanged
 */
export function removeBreakpointsFromMessage(message: string): string {
  return hasBreakpoint(message) ? removeBreakpoints(message) : message;
}

/** Blocks that can have no breakpoint: the API rejects it. */
const NO_BREAKPOINT_TYPES = /^"(?:thinking|redacted_thinking|connector_text)"$/;

/**
 * Adds a breakpoint to the last block of a message.
 *
 * @returns undefined if that block can have none
 */
export function addBreakpointToLastBlock(message: string, breakpoint: JsonObject): string | undefined {
  const content = parseMemberTexts(message).get('content') ?? '';
  const blocks = content.startsWith('[') ? splitArrayItems(content) : [`{"type":"text","text":${content}}`];
  const last = blocks.pop();
  if (!last?.startsWith('{')) return undefined;
  const members = parseMemberTexts(last);
  if (NO_BREAKPOINT_TYPES.test(members.get('type') ?? '') || members.get('text') === '""') return undefined;
  const marked = editJson(last, { cache_control: JSON.stringify(breakpoint) });
  return editJson(message, { content: `[${[...blocks, marked].join(',')}]` });
}

/** @returns whether a JSON text has a member `cache_control`. Inside a JSON string its quotes would be escaped. */
function hasBreakpoint(text: string): boolean {
  return text.includes('"cache_control"');
}

/** @returns about how many breakpoints JSON texts have. A member of a tool's schema may have the same name. */
export function countBreakpoints(...texts: readonly (string | undefined)[]): number {
  return texts.reduce(
    // Match the colon, too, so that a string value "cache_control" is not counted as a breakpoint.
    (sum, text = '') => sum + (hasBreakpoint(text) ? (text.match(/"cache_control"\s*:/g)?.length ?? 0) : 0),
    0,
  );
}

function removeBreakpoints(object: string): string {
  const changes: Record<string, string | undefined> = { cache_control: undefined };
  const members = parseMemberTexts(object);
  const content = members.get('content');
  if (content?.startsWith('[')) changes.content = `[${splitArrayItems(content).map(removeFromBlock).join(',')}]`;
  const source = members.get('source');
  if (source?.startsWith('{') && hasBreakpoint(source)) changes.source = removeBreakpoints(source);
  return editJson(object, changes);
}

function removeFromBlock(block: string): string {
  return block.startsWith('{') && hasBreakpoint(block) ? removeBreakpoints(block) : block;
}

const THINKING_BLOCK_TYPES = 'thinking|redacted_thinking|connector_text';
/** Finds a block of these types in a message as JSON. Inside a JSON string the quotes would be escaped. */
const THINKING_PATTERN = new RegExp(`"type"\\s*:\\s*"(?:${THINKING_BLOCK_TYPES})"`);
const THINKING_TYPE_PATTERN = new RegExp(`^"(?:${THINKING_BLOCK_TYPES})"$`);

/** @returns whether a message, as JSON, has thinking. */
export function hasThinking(message: string): boolean {
  return THINKING_PATTERN.test(message);
}

/**
 * @returns a message as JSON without its thinking. A message with nothing else is returned unchanged: the API rejects it anyway
 */
export function removeThinking(message: string): string {
  if (!hasThinking(message)) return message;
  const content = parseMemberTexts(message).get('content') ?? '';
  if (!content.startsWith('[')) return message;
  const { blocks } = splitBlocksAndCountThinking(content);
  return blocks.length === 0 ? message : editJson(message, { content: `[${blocks.join(',')}]` });
}

/** @returns the blocks of a content that are no thinking, as JSON texts, and how many are thinking */
export function splitBlocksAndCountThinking(content: string): { blocks: string[]; thinking: number } {
  const all = splitArrayItems(content);
  const blocks = all.filter((block) => !isThinkingJson(block));
  return { blocks, thinking: all.length - blocks.length };
}

function isThinkingJson(block: string): boolean {
  return block.startsWith('{') && THINKING_TYPE_PATTERN.test(parseMemberTexts(block).get('type') ?? '');
}

/** Divides a text into pieces of at most `most` characters, never inside a surrogate pair. */
export function splitTextIntoPieces(text: string, maxCharacters = PIECE_CHARACTERS): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; ) {
    let end = Math.min(text.length, at + maxCharacters);
    if (end < text.length && isHighSurrogate(text.charCodeAt(end - 1)) && end - at > 1) end -= 1;
    pieces.push(text.slice(at, end));
    at = end;
  }
  return pieces;
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}
