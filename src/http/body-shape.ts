/** A look at JSON before it is parsed: a list of millions of nothings takes many times its bytes as objects. */

import { BACKSLASH, COMMA, QUOTE, SPACE } from '../json/characters.ts';
import { ApiError } from './errors.ts';

/** A body that is longer than this is long: its account is asked first, and its shape is looked at. In bytes. */
export const LONG_BODY = 262_144;
/** More than twice what the API's most messages come to. */
const MOST_VALUES = 1_500_000;
/** Nothing that the API takes is half as deep. */
const DEEPEST = 500;
/** From here on a string stays in its bytes: the longest name that anything is compared with is half as long. */
const LONG_STRING = 512;

const OPEN_LIST = 91;
const CLOSE_LIST = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

export interface Shape {
  values: number;
  /** Where each long string begins and ends, one behind the other, without its quotes. */
  strings: number[];
}

/**
 * Counts the values of a JSON text and how deep they stand, and finds its long strings, in one pass over its bytes.
 *
 * @throws ApiError 413 for one that has too many values, or nests too deep
 */
export function shapeOf(bytes: Uint8Array): Shape {
  const strings: number[] = [];
  let values = 1;
  let depth = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      const end = endOfQuoted(bytes, at + 1);
      if (end - at > LONG_STRING && end < bytes.length) strings.push(at + 1, end);
      at = end;
    } else if (byte === COMMA) values += 1;
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      depth += 1;
      if (depth > DEEPEST) throw refused(`nests deeper than ${DEEPEST} levels`);
      // A list, or an object, that is not empty has a value more than commas.
      if (!isClosing(bytes, at + 1)) values += 1;
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth -= 1;
    if (values > MOST_VALUES) throw refused(`has more than ${MOST_VALUES} values`);
  }
  return { values, strings };
}

function refused(what: string): ApiError {
  return new ApiError('request_too_large', `The request body ${what}. Send less in one request.`);
}

/** @returns whether nothing but white space stands before the end of a list, or an object. */
function isClosing(bytes: Uint8Array, from: number): boolean {
  let at = from;
  while ((bytes[at] ?? 0) <= SPACE && at < bytes.length) at += 1;
  return bytes[at] === CLOSE_LIST || bytes[at] === CLOSE_OBJECT;
}

/** @returns where the quote stands that ends a string, or the end of the text. */
function endOfQuoted(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(QUOTE, from); at >= 0; at = bytes.indexOf(QUOTE, at + 1)) {
    let escapes = 0;
    while (bytes[at - 1 - escapes] === BACKSLASH) escapes += 1;
    if (escapes % 2 === 0) return at;
  }
  return bytes.length;
}
