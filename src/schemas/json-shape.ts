/** A look at JSON before it is parsed: a list of millions of nothings takes many times its bytes as objects. */
import { ApiError } from '../errors.ts';

/** More than twice what the API's most messages come to. */
const MOST_VALUES = 1_500_000;
const DEEPEST = 500;
/** A shorter body cannot have too many values, and its depth is judged where it is walked. */
const UNLOOKED_BYTES = 262_144;

const QUOTE = 34;
const COMMA = 44;
const OPEN_LIST = 91;
const BACKSLASH = 92;
const CLOSE_LIST = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

/**
 * Counts the values of a JSON text, and how deep they nest, in one pass over its bytes.
 *
 * @throws ApiError 413 for what is too deep, or has too many values
 */
export function checkShape(bytes: Uint8Array): void {
  if (bytes.length <= UNLOOKED_BYTES) return;
  let values = 1;
  let depth = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === QUOTE) at = endOfString(bytes, at + 1);
    else if (byte === COMMA) values += 1;
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      values += 1;
      depth += 1;
      if (depth > DEEPEST) throw refused(`nests deeper than ${DEEPEST} levels`);
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth -= 1;
    if (values > MOST_VALUES) throw refused(`has more than ${MOST_VALUES} values`);
  }
}

/** @returns where the quote stands that ends a string, or the end of the text. */
function endOfString(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(QUOTE, from); at >= 0; at = bytes.indexOf(QUOTE, at + 1)) {
    let escapes = 0;
    while (bytes[at - 1 - escapes] === BACKSLASH) escapes += 1;
    if (escapes % 2 === 0) return at;
  }
  return bytes.length;
}

function refused(reason: string): ApiError {
  return new ApiError('request_too_large', `The request body ${reason}. Send less in one request.`);
}
