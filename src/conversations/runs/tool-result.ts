import type { Json } from '../../json/object.ts';
import type { Nanodollars } from '../../pricing/cost.ts';

/** What a tool is told with its call. */
export interface ToolCall {
  tool_use_id: string;
  name: string;
  input: unknown;
  account: string;
  conversation: string;
  turn: string;
}

/** What has come back from a call. */
export interface ToolResult {
  /** As it goes up in a `tool_result`: a text, or blocks. */
  content: string | Json[];
  isError: boolean;
  /** Bytes that the tool has answered. */
  bytes: number;
  /** What its subagent has cost, with its own subagents; absent where it has none. */
  cost?: Nanodollars;
}

/** A longer text would fill the context window of most models. */
export const MOST_TEXT_BYTES = 1_000_000;
/** The API takes images of 5 MB in base64, which is a third longer. */
export const MOST_IMAGE_BYTES = 3_750_000;
/** What the results of one step may have together: they are in memory at the same time, and go up in one request. */
export const MOST_STEP_BYTES = 3 * MOST_IMAGE_BYTES;
/** What the API takes as an image. */
export const IMAGES: ReadonlySet<string> = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);
export const NO_CONTENT = '(no content)';

/** @returns a result that tells the model how a call has failed */
export function failedCall(content: string): ToolResult {
  return { content, isError: true, bytes: 0 };
}

/** @returns the result of a call whose answer has more bytes than it may */
export function tooMuch(most: number): ToolResult {
  return failedCall(`The tool answered with more than ${most} bytes.`);
}

/** The bytes that the results of a step may still have; calls that are made at the same time share it. */
export interface ResultRoom {
  left: number;
}

/** @returns the result of a call for whose answer there is no room beside the others of its step. */
export function tooMuchTogether(): ToolResult {
  return failedCall('The tools that were called together have answered too much. Call this one again by itself.');
}
