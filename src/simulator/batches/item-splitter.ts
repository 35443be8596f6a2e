import { ApiError } from '../request/errors.ts';

/** The most bytes beside the items: brackets, commas and space for 100,000 of them. */
const MAX_BYTES_AROUND_ITEMS = 8 * 1024 * 1024;
/** The longest item, in bytes: the API's limit for a message. See https://platform.claude.com/docs/en/api/errors */
const MAX_ITEM_BYTES = 32 * 1024 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Bytes that were kept, as they came. */
class ByteBuffer {
  readonly #maxBytes: number;
  #parts: Uint8Array[] = [];
  #length = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  append(part: Uint8Array): void {
    if (part.byteLength === 0) return;
    this.#length += part.byteLength;
    if (this.#length > this.#maxBytes) throw new ApiError(413, 'Request exceeds the maximum size');
    this.#parts.push(part.slice());
  }

  takeAllBytes(): Uint8Array {
    const whole = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.byteLength;
    }
    this.#parts = [];
    this.#length = 0;
    return whole;
  }
}

const EMPTY_OBJECT = new TextEncoder().encode('{}');

/**
 * Takes the items out of `{"requests": [{…}, {…}]}` while it arrives in: the objects in a list in the outermost object. It only
 * looks at brackets and strings. The reader of an item checks whether it is JSON.
 */
export class ItemSplitter {
  readonly #item = new ByteBuffer(MAX_ITEM_BYTES);
  readonly #surroundings = new ByteBuffer(MAX_BYTES_AROUND_ITEMS);
  #depth = 0;
  /** The bracket of each of the first two levels. */
  readonly #openBrackets = [0, 0];
  #isInString = false;
  #isEscaped = false;
  #isInItem = false;

  /**
   * Reads on.
   *
   * @returns the items that are complete now
   * @throws ApiError 413 if an item, or everything beside the items, is too long
   */
  pushChunk(chunk: Uint8Array): Uint8Array[] {
    const items: Uint8Array[] = [];
    /** The start of the part that is not stored yet. */
    let from = 0;
    // Copy these fields to locals: the loop would otherwise read them once for each byte.
    let inString = this.#isInString;
    let escaped = this.#isEscaped;
    for (let at = 0; at < chunk.byteLength; at++) {
      const byte = chunk[at];
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) inString = false;
      } else if (byte === QUOTE) {
        inString = true;
      } else if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
        if (byte === OPEN_OBJECT && this.#isInItemList()) {
          this.#surroundings.append(chunk.subarray(from, at));
          this.#surroundings.append(EMPTY_OBJECT);
          this.#isInItem = true;
          from = at;
        }
        if (this.#depth < 2) this.#openBrackets[this.#depth] = byte;
        this.#depth++;
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
        this.#depth = Math.max(0, this.#depth - 1);
        if (this.#isInItem && this.#depth === 2) {
          this.#item.append(chunk.subarray(from, at + 1));
          items.push(this.#item.takeAllBytes());
          this.#isInItem = false;
          from = at + 1;
        }
      }
    }
    this.#isInString = inString;
    this.#isEscaped = escaped;
    (this.#isInItem ? this.#item : this.#surroundings).append(chunk.subarray(from));
    return items;
  }

  /** @returns the rest: the body with `{}` instead of each item that was taken out. */
  getBodyWithoutItems(): Uint8Array {
    if (this.#isInItem) this.#surroundings.append(this.#item.takeAllBytes());
    return this.#surroundings.takeAllBytes();
  }

  #isInItemList(): boolean {
    return this.#depth === 2 && this.#openBrackets[0] === OPEN_OBJECT && this.#openBrackets[1] === OPEN_LIST;
  }
}
