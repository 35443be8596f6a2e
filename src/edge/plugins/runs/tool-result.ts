import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { type JsonObject, toJsonText } from '../../kit/json/object.ts';

export interface ToolCall {
  tool_use_id: string;
  name: string;
  input: unknown;
  account: string;
  conversation: string;
  turn: string;
}

export interface ToolResult {
  /** As it is sent in a `tool_result`: a text, or blocks. */
  content: string | JsonObject[];
  isError: boolean;
  /** Bytes of the tool's answer. */
  bytes: number;
  /** The cost of its subagent, including the subagent's own subagents; absent if the tool is not an agent. */
  cost?: Nanodollars;
}

/** A longer text would fill the context window of most models. */
export const MOST_TEXT_BYTES = 1_000_000;
/**
 * The most bytes of an image: the API accepts 5 MB in base64, which is a third longer than the bytes:
 * https://platform.claude.com/docs/en/build-with-claude/vision.md
 */
export const MOST_IMAGE_BYTES = 3_750_000;
/** The most bytes of all results of one step: they are in memory at the same time, and are sent in one request. */
export const MOST_STEP_BYTES = 3 * MOST_IMAGE_BYTES;
/** Media types that the API accepts as images. */
export const IMAGES: ReadonlySet<string> = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);
export const NO_CONTENT = '(no content)';

/** @returns a result that explains to the model how a call has failed */
export function createFailedResult(content: string): ToolResult {
  return { content, isError: true, bytes: 0 };
}

/** @returns the result of a call whose answer is too long. @param most the most bytes allowed */
export function createTooLongResult(most: number): ToolResult {
  return createFailedResult(`The tool’s response has more than ${most} bytes.`);
}

/**
 * @returns a result that the API accepts: an error result may only contain text, so other blocks are replaced by their names
 */
export function toAcceptableResult(result: ToolResult): ToolResult {
  const { content, isError } = result;
  if (!isError || typeof content === 'string') return result;
  const toPlaceholderBlock = ({ type }: JsonObject) => ({
    type: 'text',
    text: `[Here the tool has answered with ${toJsonText(type)}, which cannot be shown in an error.]`,
  });
  return { ...result, content: content.map((block) => (block.type === 'text' ? block : toPlaceholderBlock(block))) };
}

/** @returns a result with a note in front, which the model reads first */
export function prependNoteToResult(result: ToolResult, note: string | undefined): ToolResult {
  if (note === undefined) return result;
  const { content } = result;
  if (typeof content === 'string') return { ...result, content: `${note}\n${content}` };
  return { ...result, content: [{ type: 'text', text: note }, ...content] };
}

/** The bytes that the results of a step may still have. Calls that run at the same time share it. */
export interface RemainingResultBytes {
  left: number;
}

/** Waits for memory of the isolate for so many bytes of an answer. @throws ApiError 503 if there is none in time */
export type WaitForMemory = (bytes: number) => Promise<void>;

/**
 * Waits for memory for an answer while it comes. A call that waits holds no memory, so it waits seldom: once for a short answer,
 * and once more, at the latest, for the longest.
 *
 * @param sizes the sizes for which memory is taken, in ascending order
 * @returns a function to call with the length so far, before more is read
 */
export function createGrowingMemoryHold(
  hold: WaitForMemory,
  sizes: readonly number[],
): (length: number) => Promise<void> {
  let held = 0;
  return async (length) => {
    if (length <= held) return;
    held = sizes.find((size) => size >= length) ?? length;
    await hold(held);
  };
}

/** The bytes for which an answer takes memory at first. Most results have fewer. */
export const SHORT_ANSWER_BYTES = 65_536;

/** @returns the result of a call whose response does not fit with the other results of its step. */
export function createTooLongTogetherResult(): ToolResult {
  return createFailedResult(
    'The responses of the tools that were called together are too long. Call this tool again by itself.',
  );
}

export const NO_ROOM = 'The tool responded, but the response did not fit into memory. Call it again if that is safe.';

/** Reserves memory for a result. @returns the result, or an error with the same cost if there is none */
export async function reserveMemoryForResult(
  result: ToolResult,
  { resultBytes, hold }: { resultBytes: RemainingResultBytes; hold: WaitForMemory },
): Promise<ToolResult> {
  if (result.bytes > resultBytes.left) return { ...result, ...createTooLongTogetherResult() };
  resultBytes.left -= result.bytes;
  try {
    await hold(result.bytes);
    return result;
  } catch {
    // No memory became free in time, or the run was stopped. Replace only the content: other fields, such as a subagent's cost,
    // are still needed.
    return { ...result, ...createFailedResult(NO_ROOM) };
  }
}
