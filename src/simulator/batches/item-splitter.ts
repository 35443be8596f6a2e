import { ApiError } from '../request/errors.ts';

/** The most bytes beside the items: brackets, commas and space for 100,000 of them. */
const MOST_BESIDE = 8 * 1024 * 1024;
/** The longest item, in bytes: the API's limit for a message. */
const LONGEST_ITEM = 32 * 1024 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Bytes that were kept, as they came. */
class Gathered {
  readonly #most: number;
  #parts: Uint8Array[] = [];
  #length = 0;

  constructor(most: number) {
    this.#most = most;
  }

  add(part: Uint8Array): void {
    if (part.byteLength === 0) return;
    this.#length += part.byteLength;
    if (this.#length > this.#most) throw new ApiError(413, 'Request exceeds the maximum size');
    this.#parts.push(part.slice());
  }

  take(): Uint8Array {
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

const NOTHING = new TextEncoder().encode('{}');

/**
 * Takes the items out of `{"requests": [{…}, {…}]}` while it comes in: the objects in a list in the outermost object. It only
 * looks at brackets and strings. The reader of an item checks whether it is JSON.
 */
export class ItemSplitter {
  readonly #item = new Gathered(LONGEST_ITEM);
  readonly #beside = new Gathered(MOST_BESIDE);
  #depth = 0;
  /** The bracket of each of the first two levels. */
  readonly #levels = [0, 0];
  #inString = false;
  #escaped = false;
  #inItem = false;

  /**
   * Reads on.
   *
   * @returns the items that are complete now
   * @throws ApiError 413 if an item, or everything beside the items, is too long
   */
  push(chunk: Uint8Array): Uint8Array[] {
    const items: Uint8Array[] = [];
    /** Where the part begins that is not kept yet. */
    let from = 0;
    // Members of the object would be read once for each byte.
    let inString = this.#inString;
    let escaped = this.#escaped;
    for (let at = 0; at < chunk.byteLength; at++) {
      const byte = chunk[at];
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) inString = false;
      } else if (byte === QUOTE) {
        inString = true;
      } else if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
        if (byte === OPEN_OBJECT && this.#isInList()) {
          this.#beside.add(chunk.subarray(from, at));
          this.#beside.add(NOTHING);
          this.#inItem = true;
          from = at;
        }
        if (this.#depth < 2) this.#levels[this.#depth] = byte;
        this.#depth++;
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
        this.#depth = Math.max(0, this.#depth - 1);
        if (this.#inItem && this.#depth === 2) {
          this.#item.add(chunk.subarray(from, at + 1));
          items.push(this.#item.take());
          this.#inItem = false;
          from = at + 1;
        }
      }
    }
    this.#inString = inString;
    this.#escaped = escaped;
    (this.#inItem ? this.#item : this.#beside).add(chunk.subarray(from));
    return items;
  }

  /** @returns the rest: the body with `{}` instead of each item that was taken out. */
  end(): Uint8Array {
    if (this.#inItem) this.#beside.add(this.#item.take());
    return this.#beside.take();
  }

  #isInList(): boolean {
    return this.#depth === 2 && this.#levels[0] === OPEN_OBJECT && this.#levels[1] === OPEN_LIST;
  }
}
