const LINE_FEED = 10;
export const CARRIAGE_RETURN = 13;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf] as const;
/** The most bytes of a line. No client of the API needs a longer one, and what stays of it is its beginning. */
export const MAX_LINE_BYTES = 1_048_576;
const KEPT_LINE_BYTES = 1_024;

/** Called with each line as a range of `bytes`, without its line end. The bytes are valid during the call only. */
export type LineCallback = (bytes: Uint8Array, start: number, end: number) => void;

/**
 * Splits a stream of bytes into lines (LF, CRLF or CR) in linear time, however it is cut into pieces. It skips a byte order
 * mark at the beginning, and what a line has beyond `MAX_LINE_BYTES`: of such a line only the beginning is kept.
 *
 * Bytes stay bytes, because most lines of a stream are deltas that are not decoded here.
 */
export class StreamLineReader {
  readonly #onLine: LineCallback;
  #buffer = new Uint8Array(0);
  #length = 0;
  #isFirst = true;
  /** Whether the rest is the beginning of a line that is too long. */
  #isTooLong = false;

  constructor(onLine: LineCallback) {
    this.#onLine = onLine;
  }

  /** Takes the next piece and reports each line that it ends. */
  pushPiece(piece: Uint8Array): void {
    if (this.#isTooLong) {
      const ends = [LINE_FEED, CARRIAGE_RETURN].map((byte) => piece.indexOf(byte)).filter((at) => at >= 0);
      if (ends.length === 0) return;
      this.#isTooLong = false;
      piece = piece.subarray(Math.min(...ends));
    }
    let bytes = piece;
    let search = 0;
    if (this.#length > 0) {
      // The last piece may have ended with a carriage return, which was kept because a line feed may follow. Search from that
      // character.
      search = this.#length - 1;
      this.#appendToUnfinishedLine(piece);
      bytes = this.#buffer.subarray(0, this.#length);
    }
    let start = 0;
    let feed = bytes.indexOf(LINE_FEED, search);
    // Search for carriage returns once instead of for each line, because most streams contain none.
    let carriage = bytes.indexOf(CARRIAGE_RETURN, search);
    for (;;) {
      const isCarriage = carriage >= 0 && carriage < bytes.length - 1 && (feed < 0 || carriage < feed);
      const end = isCarriage ? carriage : feed;
      if (end < 0) break;
      this.#reportLine(bytes, start, end);
      start = isCarriage && bytes[end + 1] === LINE_FEED ? end + 2 : end + 1;
      if (isCarriage) carriage = bytes.indexOf(CARRIAGE_RETURN, start);
      if (feed >= 0 && feed < start) feed = bytes.indexOf(LINE_FEED, start);
    }
    if (bytes === piece) {
      if (start < piece.length) this.#appendToUnfinishedLine(piece.subarray(start));
    } else if (start > 0) {
      this.#buffer.copyWithin(0, start, this.#length);
      this.#length -= start;
    }
    // A carriage return at the end may terminate the line, so do not treat the line as too long yet.
    if (this.#length <= MAX_LINE_BYTES || this.#buffer[this.#length - 1] === CARRIAGE_RETURN) return;
    this.#isTooLong = true;
    this.#buffer = this.#buffer.slice(0, KEPT_LINE_BYTES);
    this.#length = KEPT_LINE_BYTES;
  }

  #reportLine(bytes: Uint8Array, start: number, end: number): void {
    const isMarked = this.#isFirst && BYTE_ORDER_MARK.every((byte, index) => bytes[start + index] === byte);
    this.#isFirst = false;
    this.#onLine(bytes, isMarked ? start + BYTE_ORDER_MARK.length : start, end);
  }

  /** The bytes after the last line end; a carriage return at their end may be the first half of one. */
  get unfinishedLineBytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Keeps bytes for the next piece. The buffer doubles when it grows, so that a long line is not copied with each piece. */
  #appendToUnfinishedLine(piece: Uint8Array): void {
    const length = this.#length + piece.length;
    if (length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = larger;
    }
    this.#buffer.set(piece, this.#length);
    this.#length = length;
  }
}
