/** Checks JSON before it is parsed, because parsed values may take many times their bytes, as a list of empty lists does. */

import {
  BACKSLASH,
  CLOSE_LIST,
  CLOSE_OBJECT,
  COMMA,
  OPEN_LIST,
  OPEN_OBJECT,
  QUOTE,
  SPACE,
} from '../json/characters.ts';
import { ApiError } from './errors.ts';

/** A body of more bytes than this is long: its account is asked first, and its shape is judged before it is parsed. */
export const LONG_BODY = 262_144;
/** More than twice the number of values in the largest request that the API takes. */
const MOST_VALUES = 1_500_000;
/** At least twice as deep as anything that the API takes. */
const DEEPEST = 500;
/** A string of more bytes than this stays bytes. The longest name that a string is compared with has half as many. */
const LONG_STRING = 512;

/** The shape of a JSON text. */
export interface Shape {
  /** How many values it has, of every kind. */
  values: number;
  /** Start and end of each long string in turn, in bytes, without the quotes. */
  strings: number[];
}

/**
 * Counts the values of a JSON text and how deep they nest, and finds its long strings, in one pass over its bytes.
 *
 * @throws ApiError 413 for a text that has too many values, or nests too deep
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
      // A list or an object that is not empty has one value more than commas.
      if (!isClosing(bytes, at + 1)) values += 1;
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth -= 1;
    if (values > MOST_VALUES) throw refused(`has more than ${MOST_VALUES} values`);
  }
  return { values, strings };
}

function refused(what: string): ApiError {
  return new ApiError('request_too_large', `The request body ${what}. Send less in one request.`);
}

/** @returns whether a list, or an object, ends here, after white space only. */
function isClosing(bytes: Uint8Array, from: number): boolean {
  let at = from;
  while ((bytes[at] ?? 0) <= SPACE && at < bytes.length) at += 1;
  return bytes[at] === CLOSE_LIST || bytes[at] === CLOSE_OBJECT;
}

/** @returns the position of the quote that ends a string; the text's length if none does. */
function endOfQuoted(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(QUOTE, from); at >= 0; at = bytes.indexOf(QUOTE, at + 1)) {
    let escapes = 0;
    while (bytes[at - 1 - escapes] === BACKSLASH) escapes += 1;
    if (escapes % 2 === 0) return at;
  }
  return bytes.length;
}
