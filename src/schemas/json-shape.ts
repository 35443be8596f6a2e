/** A look at JSON before it is parsed: a list of millions of nothings takes many times its bytes as objects. */
import { ApiError } from '../errors.ts';

/** More than twice what the API's most messages come to. */
const MOST_VALUES = 1_500_000;
/** A shorter body cannot have too many. */
const UNLOOKED_BYTES = 262_144;

const SPACE = 32;
const QUOTE = 34;
const COMMA = 44;
const OPEN_LIST = 91;
const BACKSLASH = 92;
const CLOSE_LIST = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

/**
 * Counts the values of a JSON text in one pass over its bytes.
 *
 * @throws ApiError 413 for one that has too many
 */
export function checkShape(bytes: Uint8Array): void {
  if (bytes.length <= UNLOOKED_BYTES) return;
  let values = 1;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === QUOTE) at = endOfString(bytes, at + 1);
    else if (byte === COMMA) values += 1;
    // A list, or an object, that is not empty has a value more than commas.
    else if ((byte === OPEN_LIST || byte === OPEN_OBJECT) && !isClosing(bytes, at + 1)) values += 1;
    if (values > MOST_VALUES) {
      const message = `The request body has more than ${MOST_VALUES} values. Send less in one request.`;
      throw new ApiError('request_too_large', message);
    }
  }
}

/** @returns whether nothing but white space stands before the end of a list, or an object. */
function isClosing(bytes: Uint8Array, from: number): boolean {
  let at = from;
  while ((bytes[at] ?? 0) <= SPACE && at < bytes.length) at += 1;
  return bytes[at] === CLOSE_LIST || bytes[at] === CLOSE_OBJECT;
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
