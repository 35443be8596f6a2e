import type { SteppedWork } from '../async/run-in-steps.ts';
import { BACKSLASH } from '../json/characters.ts';
import { createPlaceholderSourceId, createStringPlaceholder, type PlaceholderSource } from './body-pieces.ts';
import type { JsonTextShape } from './body-shape.ts';
import { strictDecoder } from './bytes.ts';

/** A long string is checked in pieces of this many bytes. */
const PIECE_BYTES = 524_288;
const LETTER_U = 117;
/** The longest escape, `\u0000`. */
const ESCAPE_BYTES = 6;

/** The long strings of a JSON text. They stay bytes. */
export class LongStrings implements PlaceholderSource {
  readonly id = createPlaceholderSourceId();
  readonly #bytes: Uint8Array;
  readonly #strings: readonly number[];

  constructor(bytes: Uint8Array, { strings }: JsonTextShape) {
    this.#bytes = bytes;
    this.#strings = strings;
  }

  /**
   * @returns the JSON text with a placeholder for each long string
   * @throws TypeError if it is not UTF-8, SyntaxError for a long string that is not valid JSON
   */
  *createTextWithPlaceholders(): SteppedWork<string> {
    const parts: string[] = [];
    let at = 0;
    for (let index = 0; index < this.#strings.length / 2; index += 1) {
      const [start, end] = this.#getStringRange(index);
      yield* validateStringInSteps(this.#bytes, start, end);
      parts.push(strictDecoder.decode(this.#bytes.subarray(at, start)), createStringPlaceholder(this.id, index));
      at = end;
    }
    parts.push(strictDecoder.decode(this.#bytes.subarray(at)));
    return parts.join('');
  }

  getPieces(index: number): Uint8Array[] {
    return [this.#bytes.subarray(...this.#getStringRange(index))];
  }

  lengthOf(value: string): number | undefined {
    const found = /^~string:([0-9a-f]{16}):(\d+)~$/.exec(value);
    if (found?.[1] !== this.id) return undefined;
    const [start, end] = this.#getStringRange(Number(found[2]));
    return end - start;
  }

  #getStringRange(index: number): [start: number, end: number] {
    return [this.#strings[index * 2] ?? 0, this.#strings[index * 2 + 1] ?? 0];
  }
}

/** Checks the inside of a string piece by piece, so that it is never in memory as one text. */
function* validateStringInSteps(bytes: Uint8Array, start: number, end: number): SteppedWork<void> {
  for (let at = start; at < end; ) {
    const stop = end - at <= PIECE_BYTES ? end : findCharacterBoundaryBefore(bytes, at, at + PIECE_BYTES);
    JSON.parse(`"${strictDecoder.decode(bytes.subarray(at, stop))}"`);
    at = stop;
    if (at < end) yield PIECE_BYTES;
  }
}

/** @returns where a string can be cut so that no character and no escape is cut in two. */
function findCharacterBoundaryBefore(bytes: Uint8Array, from: number, to: number): number {
  let at = to;
  while (at > from && ((bytes[at] ?? 0) & 0xc0) === 0x80) at -= 1;
  // All bytes are continuation bytes, so this is not valid UTF-8. It does not matter where it is cut.
  if (at === from) return to;
  for (let begin = at - 1; begin > from && begin > at - ESCAPE_BYTES; begin -= 1) {
    if (bytes[begin] !== BACKSLASH) continue;
    let before = 0;
    while (begin - 1 - before >= from && bytes[begin - 1 - before] === BACKSLASH) before += 1;
    // With an odd number of backslashes before it, this backslash is itself escaped and does not start an escape.
    if (before % 2 === 1) return at;
    const length = bytes[begin + 1] === LETTER_U ? ESCAPE_BYTES : 2;
    return begin + length > at ? begin : at;
  }
  return at;
}
