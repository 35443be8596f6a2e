import { findMessage } from '../../claude/upstream-error.ts';
import { parseJsonOrUndefined } from '../../kit/json/parse.ts';

/** The part of a request that an error is about. */
export type ErrorPath =
  | { tool: number }
  /** A message, a block of it, or a block within the block, which is the result of a tool. */
  | { message: number; block: number | undefined; inner: number | undefined };

/** The API begins an error's message with the path. Services write it with dots, brackets or slashes, and may quote it. */
const PATH =
  /^[`'"]?(?:\$\.|\/)?(?:tools[.[/](\d+)|messages[.[/](\d+)(?:\]?[./]content[.[/](\d+)(?:\]?[./](?:tool_result[./])?content[.[/](\d+))?)?)/;

/**
 * Reads the path in an error of the API. A path elsewhere in the message may be quoted from the request, and is not evidence.
 *
 * @param text the body of the error
 * @param fields the names of the request's fields: an error about a field named `tools.0` begins with this name
 */
export function parseErrorPath(text: string, fields: readonly string[]): ErrorPath | undefined {
  const message = findMessage(parseJsonOrUndefined(text) ?? text).trimStart();
  const [, tool, at, block, inner] = PATH.exec(message) ?? [];
  if (fields.some((name) => /^(?:tools|messages)./.test(name) && message.includes(name))) return undefined;
  if (tool !== undefined) return { tool: Number(tool) };
  return at === undefined ? undefined : { message: Number(at), block: toIndex(block), inner: toIndex(inner) };
}

function toIndex(digits: string | undefined): number | undefined {
  return digits === undefined ? undefined : Number(digits);
}
