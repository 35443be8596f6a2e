import type { Json } from '../../json/object.ts';
import type { Nanodollars } from '../../pricing/cost.ts';

/** What a tool receives with its call. */
export interface ToolCall {
  tool_use_id: string;
  name: string;
  input: unknown;
  account: string;
  conversation: string;
  turn: string;
}

/** The result of a call. */
export interface ToolResult {
  /** As it goes up in a `tool_result`: a text, or blocks. */
  content: string | Json[];
  isError: boolean;
  /** Bytes of the tool's answer. */
  bytes: number;
  /** What its subagent has cost, including the subagent's own subagents; absent if the tool is not an agent. */
  cost?: Nanodollars;
}

/** A longer text would fill the context window of most models. */
export const MOST_TEXT_BYTES = 1_000_000;
/** The most bytes of an image: the API accepts 5 MB in base64, which is a third longer than the bytes. */
export const MOST_IMAGE_BYTES = 3_750_000;
/** The most bytes of all results of one step: they are in memory at the same time, and go up in one request. */
export const MOST_STEP_BYTES = 3 * MOST_IMAGE_BYTES;
/** Media types that the API accepts as images. */
export const IMAGES: ReadonlySet<string> = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);
export const NO_CONTENT = '(no content)';

/** @returns a result that tells the model how a call has failed */
export function failedCall(content: string): ToolResult {
  return { content, isError: true, bytes: 0 };
}

/** @returns the result of a call whose answer is too long. @param most the most bytes allowed */
export function tooMuch(most: number): ToolResult {
  return failedCall(`The tool answered with more than ${most} bytes.`);
}

/** The bytes that the results of a step may still have. Calls that run at the same time share it. */
export interface ResultRoom {
  left: number;
}

/** @returns the result of a call whose answer does not fit beside the other answers of its step. */
export function tooMuchTogether(): ToolResult {
  return failedCall('The tools that were called together have answered too much. Call this one again by itself.');
}
