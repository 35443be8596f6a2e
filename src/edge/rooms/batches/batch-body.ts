/**
 * Splits the body of a new batch into its items as its bytes come, so that it is never in memory as a whole. Only the
 * outermost object and the list `requests` are read here; an item is a run of bytes whose brackets match, and is parsed by
 * whoever gets it.
 */

import { strictDecoder } from '../../kit/http/bytes.ts';
import { ApiError, invalidRequest } from '../../kit/http/errors.ts';
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
} from '../../kit/json/characters.ts';

/** The most bytes of all members except `requests` together. No real request comes near. */
const MOST_OTHERS = 65_536;
/** The first size of the buffer for an item that comes in several pieces. It grows from here. */
const FIRST_ROOM = 65_536;
/** The bytes of a longer item belong to the code that gets it. They are not overwritten. */
export const LONG_ITEM = 65_536;
const REQUESTS = 'requests';
/** Space, tab, line feed, carriage return. */
const WHITE_SPACE: ReadonlySet<number> = new Set([SPACE, 9, 10, 13]);

/** A member beside `requests`, with its JSON text. */
export interface OuterMember {
  key: string;
  text: string;
}

/** What the next byte that is not white space must be. */
type Expected = 'object' | 'key' | 'colon' | 'value' | 'item' | 'comma' | 'item-comma' | 'nothing';

/** Reads the body of a new batch piece by piece. */
export class BatchBody {
  readonly #mostItemBytes: number;
  readonly #others: OuterMember[] = [];
  #otherBytes = 0;
  #expected: Expected = 'object';
  /** Whether a list or an object has just been opened: then it may also end here. */
  #isFirst = false;
  #hasRequests = false;
  #key = '';
  #items = 0;
  /** What is being read: nothing, a key, the value of another member, an item. */
  #reading: 'nothing' | 'key' | 'other' | 'item' = 'nothing';
  #depth = 0;
  #inString = false;
  #isEscaped = false;
  #isScalar = false;
  /** The beginning of what is being read, if it came in an earlier piece. */
  #held = new Uint8Array(0);
  #heldLength = 0;

  /** @param mostItemBytes how long one item may be */
  constructor(mostItemBytes: number) {
    this.#mostItemBytes = mostItemBytes;
  }

  /** @returns how many items have come. */
  get items(): number {
    return this.#items;
  }

  /**
   * Takes the next piece of the body.
   *
   * @returns its items in their order, each complete. The bytes of a short item are valid only until the next one is taken
   * @throws ApiError 400 if it cannot be the body of a batch, 413 for an item that is too long
   */
  *push(piece: Uint8Array): Generator<Uint8Array, void> {
    let start = this.#reading === 'nothing' ? -1 : 0;
    for (let at = 0; at < piece.length; at += 1) {
      const byte = piece[at] as number;
      if (this.#reading === 'nothing') {
        if (WHITE_SPACE.has(byte)) continue;
        if (this.#begin(byte)) start = at;
        continue;
      }
      if (this.#inString) {
        if (this.#isEscaped) this.#isEscaped = false;
        else if (byte === BACKSLASH) this.#isEscaped = true;
        else if (byte === QUOTE) {
          this.#inString = false;
          if (this.#depth === 0) {
            yield* this.#end(piece, start, at + 1);
            start = -1;
          }
        }
        continue;
      }
      if (this.#isScalar) {
        if (byte !== COMMA && byte !== CLOSE_OBJECT && byte !== CLOSE_LIST && byte > SPACE) continue;
        yield* this.#end(piece, start, at);
        start = -1;
        // This byte comes after the value.
        at -= 1;
        continue;
      }
      if (byte === QUOTE) this.#inString = true;
      else if (byte === OPEN_OBJECT || byte === OPEN_LIST) this.#depth += 1;
      else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
        this.#depth -= 1;
        if (this.#depth === 0) {
          yield* this.#end(piece, start, at + 1);
          start = -1;
        }
      }
    }
    if (this.#reading !== 'nothing') this.#hold(piece.subarray(start));
  }

  /**
   * Ends the body.
   *
   * @returns the other members, in their order, each with its JSON text
   * @throws ApiError 400 for a body that is not complete, or has no items
   */
  end(): readonly OuterMember[] {
    if (this.#expected !== 'nothing' || this.#reading !== 'nothing') {
      throw this.#hasRequests && this.#items > 0 ? this.#fault('the body ends too early') : notABatch();
    }
    if (!this.#hasRequests) throw invalidRequest('requests: Field required');
    if (this.#items === 0) throw invalidRequest('requests: List should have at least 1 item');
    return this.#others;
  }

  /** Reads a byte between values. @returns whether it begins one */
  #begin(byte: number): boolean {
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    switch (this.#expected) {
      case 'object':
        if (byte !== OPEN_OBJECT) throw notABatch();
        this.#expect('key', true);
        return false;
      case 'key':
        if (byte === QUOTE) return this.#read('key');
        if (byte !== CLOSE_OBJECT || !isFirst) throw notABatch();
        this.#expect('nothing');
        return false;
      case 'colon':
        if (byte !== COLON) throw notABatch();
        this.#expect('value');
        return false;
      case 'value':
        if (this.#key !== REQUESTS) return this.#read('other', byte);
        if (byte !== OPEN_LIST) throw invalidRequest('requests: Input should be a valid list');
        if (this.#hasRequests) throw notABatch();
        this.#hasRequests = true;
        this.#expect('item', true);
        return false;
      case 'item':
        if (byte === CLOSE_LIST && isFirst) this.#expect('comma');
        else if (byte !== OPEN_OBJECT) throw this.#fault('Input should be an object with custom_id and params');
        else return this.#read('item', byte);
        return false;
      case 'item-comma':
        if (byte === COMMA) this.#expect('item');
        else if (byte === CLOSE_LIST) this.#expect('comma');
        else throw this.#fault('a comma is missing');
        return false;
      case 'comma':
        if (byte === COMMA) this.#expect('key');
        else if (byte === CLOSE_OBJECT) this.#expect('nothing');
        else throw notABatch();
        return false;
      case 'nothing':
        throw notABatch();
    }
  }

  #expect(expected: Expected, isFirst = false): void {
    this.#expected = expected;
    this.#isFirst = isFirst;
  }

  #read(what: 'key' | 'other' | 'item', byte = QUOTE): true {
    this.#reading = what;
    this.#inString = byte === QUOTE;
    this.#depth = byte === OPEN_OBJECT || byte === OPEN_LIST ? 1 : 0;
    this.#isScalar = this.#depth === 0 && !this.#inString;
    return true;
  }

  *#end(piece: Uint8Array, start: number, end: number): Generator<Uint8Array, void> {
    const what = this.#reading;
    const rest = piece.subarray(start, end);
    let bytes = rest;
    if (this.#heldLength > 0) {
      this.#hold(rest);
      bytes = this.#held.subarray(0, this.#heldLength);
      this.#heldLength = 0;
    } else this.#checkLength(rest.length, what);
    this.#reading = 'nothing';
    this.#isScalar = false;
    if (what === 'item') {
      this.#expect('item-comma');
      yield bytes;
      this.#items += 1;
      // The bytes of a long item may still be on their way up, so the next ones are written elsewhere.
      if (bytes.length > LONG_ITEM) this.#held = new Uint8Array(0);
      return;
    }
    const { text, value } = readMember(bytes);
    if (what === 'key') {
      this.#key = String(value);
      this.#expect('colon');
    } else {
      this.#otherBytes += bytes.length;
      this.#checkLength(0, 'other');
      this.#others.push({ key: this.#key, text });
      this.#expect('comma');
    }
  }

  /** Keeps bytes whose rest comes in a later piece. */
  #hold(bytes: Uint8Array): void {
    const length = this.#heldLength + bytes.length;
    this.#checkLength(length, this.#reading);
    if (length > this.#held.length) {
      const most = this.#reading === 'item' ? this.#mostItemBytes : MOST_OTHERS;
      const grown = new Uint8Array(Math.min(most, Math.max(FIRST_ROOM, this.#held.length * 2, length)));
      grown.set(this.#held.subarray(0, this.#heldLength));
      this.#held = grown;
    }
    this.#held.set(bytes, this.#heldLength);
    this.#heldLength = length;
  }

  #checkLength(length: number, what: 'nothing' | 'key' | 'other' | 'item'): void {
    if (what === 'item') {
      if (length > this.#mostItemBytes) {
        throw new ApiError(
          'request_too_large',
          `requests.${this.#items}: an item may have at most ${this.#mostItemBytes} bytes.`,
        );
      }
    } else if (length + this.#otherBytes > MOST_OTHERS) {
      throw notABatch();
    }
  }

  #fault(message: string): ApiError {
    return invalidRequest(`requests.${this.#items}: ${message}`);
  }
}

function notABatch(): ApiError {
  return invalidRequest('The request body is not valid JSON, with one list `requests`. Send one JSON object in UTF-8.');
}

/** @throws ApiError 400 if the bytes are not JSON in UTF-8 */
function readMember(bytes: Uint8Array): { text: string; value: unknown } {
  try {
    const text = strictDecoder.decode(bytes);
    return { text, value: JSON.parse(text) };
  } catch {
    throw notABatch();
  }
}
