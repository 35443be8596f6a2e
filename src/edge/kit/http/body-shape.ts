/** Checks JSON before it is parsed, because parsed values may take many times their bytes, as a list of empty lists does. */

import type { SteppedWork } from '../async/run-in-steps.ts';
import {
  BACKSLASH,
  CLOSE_LIST,
  CLOSE_OBJECT,
  COLON,
  COMMA,
  OPEN_LIST,
  OPEN_OBJECT,
  QUOTE,
  SPACE,
} from '../json/characters.ts';
import { ApiError } from './errors.ts';

/** A body of more bytes than this is long: its account is checked first, and its shape before it is parsed. */
export const LONG_BODY_BYTES = 262_144;
/** A hundred thousand messages of a block each, which is the most that the API takes, have 700,000. */
const MAX_VALUES = 750_000;
/**
 * The JavaScript engine stores each new sequence of keys, which takes up to fifty times as long as a key that it expects
 * (measured).
 */
const MAX_SEQUENCES = 20_000;
/** The number of slots in which sequences are recorded, by 16 bits of a hash. Few of the counted sequences share one. */
const SEQUENCE_SLOTS = 65_536;
/** At least twice as deep as anything that the API accepts. */
const MAX_DEPTH = 500;
/** A string of more bytes than this stays bytes. The longest name that a string is compared with has half as many. */
const LONG_STRING_BYTES = 512;

/** Marks the bytes that mean something outside of strings. Most bodies have more of the others, or can have. */
const STRUCTURAL_BYTES = new Uint8Array(256);
for (const byte of [QUOTE, COMMA, COLON, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT]) STRUCTURAL_BYTES[byte] = 1;

/** This many bytes are looked through in a few milliseconds. */
const STEP_BYTES = 524_288;

/** The shape of a JSON text. */
export interface JsonTextShape {
  /** How many values it has, of every kind. */
  values: number;
  keys: number;
  /** Start and end of each long string in turn, in bytes, without the quotes. */
  strings: number[];
}

/**
 * Counts the values of a JSON text and how deep they nest, and finds its long strings, in one pass over its bytes.
 *
 * @throws ApiError 413 for a text that has too many values or different keys, or nests too deep
 */
export function* measureJsonShape(bytes: Uint8Array): SteppedWork<JsonTextShape> {
  const strings: number[] = [];
  const sequences = new KeySequenceCounter();
  let values = 1;
  let keys = 0;
  let depth = 0;
  /** The start of the last string, and whether the position is inside it. */
  let quoted = 0;
  let isQuoted = false;
  let rest = STEP_BYTES;
  for (let at = 0; at < bytes.length; at += 1) {
    if (at > rest) {
      rest = at + STEP_BYTES;
      yield STEP_BYTES;
    }
    const byte = bytes[at] ?? 0;
    if (isQuoted) {
      if (byte !== QUOTE) at = bytes.indexOf(QUOTE, at);
      if (at < 0) break;
      if (isQuoteEscaped(bytes, at)) continue;
      if (at - quoted > LONG_STRING_BYTES) strings.push(quoted + 1, at);
      isQuoted = false;
    } else if (STRUCTURAL_BYTES[byte] === 0) continue;
    else if (byte === QUOTE) {
      quoted = at;
      isQuoted = true;
    } else if (byte === COMMA) values += 1;
    else if (byte === COLON) {
      keys += 1;
      sequences.addKey(depth, bytes, quoted, at);
      quoted = at;
    } else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      depth += 1;
      if (depth > MAX_DEPTH) throw createTooComplexError(`nests deeper than ${MAX_DEPTH} levels`);
      // A list or an object that is not empty has one value more than it has commas. Count that value here, and the others at
      // the commas.
      if (!isListOrObjectEndNext(bytes, at + 1)) values += 1;
      sequences.beginObject(depth);
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth -= 1;
    if (values > MAX_VALUES) throw createTooComplexError(`has more than ${MAX_VALUES} values`);
  }
  return { values, keys, strings };
}

/** Counts the different sequences of keys with which objects begin: `a`, `a b`, `a c` and so on. */
class KeySequenceCounter {
  /** Chosen for each text, so that a caller cannot choose keys that share a slot. */
  readonly #factor = (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) | 1;
  readonly #seen = new Uint8Array(SEQUENCE_SLOTS);
  /** The sequence of each open object so far, by its depth. */
  readonly #open = new Uint32Array(MAX_DEPTH + 1);
  #count = 0;

  beginObject(depth: number): void {
    this.#open[depth] = 1;
  }

  /** Adds a key, from one byte to another. @throws ApiError 413 for one too many */
  addKey(depth: number, bytes: Uint8Array, from: number, to: number): void {
    let sequence = this.#open[depth] ?? 0;
    for (let at = from; at < to; at += 1) sequence = Math.imul(sequence ^ (bytes[at] ?? 0), this.#factor);
    this.#open[depth] = sequence;
    const slot = sequence >>> 16;
    if (this.#seen[slot] === 1) return;
    this.#seen[slot] = 1;
    this.#count += 1;
    if (this.#count > MAX_SEQUENCES)
      throw createTooComplexError(`has more than ${MAX_SEQUENCES} different keys or orders of keys`);
  }
}

function createTooComplexError(what: string): ApiError {
  return new ApiError('request_too_large', `The request body ${what}. Send less in one request.`);
}

/** @returns whether a list, or an object, ends here, after white space only. */
function isListOrObjectEndNext(bytes: Uint8Array, from: number): boolean {
  let at = from;
  while ((bytes[at] ?? 0) <= SPACE && at < bytes.length) at += 1;
  return bytes[at] === CLOSE_LIST || bytes[at] === CLOSE_OBJECT;
}

/** @returns whether a quote within a string belongs to its text. */
function isQuoteEscaped(bytes: Uint8Array, at: number): boolean {
  let escapes = 0;
  while (bytes[at - 1 - escapes] === BACKSLASH) escapes += 1;
  return escapes % 2 === 1;
}
