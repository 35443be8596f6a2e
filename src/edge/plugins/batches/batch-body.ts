/**
 * Splits the body of a new batch into its items as its bytes arrive, so that the whole body is never in memory. Only the list
 * `requests` is found here; an item is a sequence of bytes whose brackets match, and its receiver parses it. The text around
 * the items is parsed at the end.
 */

import { strictDecoder } from '../../kit/http/bytes.ts';
import { ApiError, createInvalidRequestError } from '../../kit/http/errors.ts';
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
import { parseMemberTexts } from '../../kit/json/edit.ts';
import { isObject } from '../../kit/json/object.ts';

/** The most bytes of all members except `requests` together. No real request comes near. */
const MOST_OTHERS = 65_536;
/** The first size of the buffer for an item that comes in several pieces. It grows from here. */
const FIRST_ROOM = 65_536;
/** The bytes of a longer item belong to the code that gets it. They are not overwritten. */
export const LONG_ITEM = 65_536;
const REQUESTS = 'requests';
/** Space, tab, line feed, carriage return. */
const WHITE_SPACE: ReadonlySet<number> = new Set([SPACE, 9, 10, 13]);

/** Reads the body of a new batch piece by piece. */
export class BatchBodyParser {
  readonly #mostItemBytes: number;
  /** Where the next byte is: around the list, between its items, or in one. */
  #place: 'around' | 'between' | 'item' = 'around';
  /** What came last in the list. */
  #last: 'nothing' | 'item' | 'comma' = 'nothing';
  #hasRequests = false;
  #items = 0;
  #depth = 0;
  #inString = false;
  #isEscaped = false;
  /**
   * Where the last string of the outermost object begins in the text around the items, and whether it is the key of the list.
   */
  #keyFrom = 0;
  #isKeyOfList = false;
  /** The body without its items. */
  readonly #around = new Uint8Array(MOST_OTHERS);
  #aroundLength = 0;
  /** The beginning of an item, if it came in an earlier piece. */
  #held = new Uint8Array(0);
  #heldLength = 0;

  /** @param mostItemBytes how long one item may be */
  constructor(mostItemBytes: number) {
    this.#mostItemBytes = mostItemBytes;
  }

  /** @returns how many items have come. */
  get itemCount(): number {
    return this.#items;
  }

  /**
   * Takes the next piece of the body.
   *
   * @returns its items in their order, each complete. The bytes of a short item are valid only until the next one is taken
   * @throws ApiError 400 if it cannot be the body of a batch, 413 for an item that is too long
   */
  *splitPieceIntoItems(piece: Uint8Array): Generator<Uint8Array, void> {
    let start = 0;
    for (let at = 0; at < piece.length; at += 1) {
      const byte = piece[at] as number;
      if (this.#inString) {
        if (this.#isEscaped) this.#isEscaped = false;
        else if (byte === BACKSLASH) this.#isEscaped = true;
        else if (byte === QUOTE) this.#inString = false;
        continue;
      }
      if (this.#place === 'between') {
        if (WHITE_SPACE.has(byte)) continue;
        this.#place = this.#classifyByte(byte);
        start = at;
        // This byte is a comma between two items, so no item has started yet.
        if (this.#place === 'between') continue;
      }
      if (byte === QUOTE) {
        this.#inString = true;
        if (this.#depth === 1) this.#keyFrom = this.#aroundLength + at - start;
      } else if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
        this.#depth += 1;
        if (this.#depth !== 2 || byte !== OPEN_LIST || !this.#isKeyOfList) continue;
        if (this.#hasRequests) throw createNotABatchError();
        this.#hasRequests = true;
        this.#bufferOuter(piece.subarray(start, at + 1));
        // Validate the members before `requests` now, so that an invalid body is rejected before its items are read.
        this.#parseOuter(0, ']}');
        this.#place = 'between';
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
        this.#depth -= 1;
        if (this.#place !== 'item' || this.#depth !== 2) continue;
        yield* this.#finishItem(piece.subarray(start, at + 1));
      } else if (this.#depth === 1 && byte === COLON) {
        this.#bufferOuter(piece.subarray(start, at));
        start = at;
        this.#isKeyOfList = this.#parseOuter(this.#keyFrom).value === REQUESTS;
      }
    }
    if (this.#place === 'around') this.#bufferOuter(piece.subarray(start));
    else if (this.#place === 'item') this.#bufferItem(piece.subarray(start));
  }

  /**
   * Ends the body.
   *
   * @returns the JSON text of each other member, by its key
   * @throws ApiError 400 for a body that is not complete, or has no items
   */
  finishParsing(): Map<string, string> {
    if (this.#items > 0 && (this.#depth > 0 || this.#inString)) throw this.#createItemError('the body ends too early');
    const { text, value } = this.#parseOuter(0);
    if (!isObject(value)) throw createNotABatchError();
    if (value[REQUESTS] === undefined) throw createInvalidRequestError('requests: Field required');
    if (!this.#hasRequests) throw createInvalidRequestError('requests: Input should be a valid list');
    if (this.#items === 0) throw createInvalidRequestError('requests: List should have at least 1 item');
    const others = parseMemberTexts(text);
    others.delete(REQUESTS);
    return others;
  }

  /** Reads a byte between items. @returns where it is */
  #classifyByte(byte: number): 'around' | 'between' | 'item' {
    const last = this.#last;
    if (byte === CLOSE_LIST && last !== 'comma') return 'around';
    if (last === 'item') {
      if (byte !== COMMA) throw this.#createItemError('a comma is missing');
      this.#last = 'comma';
      return 'between';
    }
    if (byte !== OPEN_OBJECT) throw this.#createItemError('Input should be an object with custom_id and params');
    return 'item';
  }

  *#finishItem(rest: Uint8Array): Generator<Uint8Array, void> {
    let bytes = rest;
    if (this.#heldLength > 0) {
      this.#bufferItem(rest);
      bytes = this.#held.subarray(0, this.#heldLength);
      this.#heldLength = 0;
    } else this.#rejectTooLongItem(rest.length);
    this.#place = 'between';
    this.#last = 'item';
    yield bytes;
    this.#items += 1;
    // Use a new buffer for the next item: the bytes of a long item may still be on their way to the upstream.
    if (bytes.length > LONG_ITEM) this.#held = new Uint8Array(0);
  }

  /** Keeps bytes around the items. */
  #bufferOuter(bytes: Uint8Array): void {
    if (this.#aroundLength + bytes.length > MOST_OTHERS) throw createNotABatchError();
    this.#around.set(bytes, this.#aroundLength);
    this.#aroundLength += bytes.length;
  }

  /** Parses the text around the items, from a byte on. @throws ApiError 400 if it is not JSON in UTF-8 */
  #parseOuter(from: number, end = ''): { text: string; value: unknown } {
    try {
      const text = strictDecoder.decode(this.#around.subarray(from, this.#aroundLength)) + end;
      return { text, value: JSON.parse(text) };
    } catch {
      throw createNotABatchError();
    }
  }

  /** Keeps bytes of an item whose rest comes in a later piece. */
  #bufferItem(bytes: Uint8Array): void {
    const length = this.#heldLength + bytes.length;
    this.#rejectTooLongItem(length);
    if (length > this.#held.length) {
      const grown = new Uint8Array(Math.min(this.#mostItemBytes, Math.max(FIRST_ROOM, this.#held.length * 2, length)));
      grown.set(this.#held.subarray(0, this.#heldLength));
      this.#held = grown;
    }
    this.#held.set(bytes, this.#heldLength);
    this.#heldLength = length;
  }

  #rejectTooLongItem(length: number): void {
    if (length <= this.#mostItemBytes) return;
    const message = `requests.${this.#items}: an item can have at most ${this.#mostItemBytes} bytes. Send less in this item.`;
    throw new ApiError('request_too_large', message);
  }

  #createItemError(message: string): ApiError {
    return createInvalidRequestError(`requests.${this.#items}: ${message}`);
  }
}

function createNotABatchError(): ApiError {
  return createInvalidRequestError('The request body must be one JSON object in UTF-8 with the list `requests`.');
}
