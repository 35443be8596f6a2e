const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** Receives a line as a range of `bytes`, its line end left out. The bytes are valid during the call only. */
export type OnLine = (bytes: Uint8Array, start: number, end: number) => void;

/**
 * Splits a stream of bytes into lines (LF or CRLF) in linear time, however it is cut into pieces.
 *
 * Bytes stay bytes: most lines of a stream are deltas that nobody decodes here.
 */
export class LineReader {
  readonly #onLine: OnLine;
  #rest = new Uint8Array(0);
  #length = 0;

  constructor(onLine: OnLine) {
    this.#onLine = onLine;
  }

  /** Takes the next piece and reports each line that it ends. */
  push(piece: Uint8Array): void {
    let bytes = piece;
    let search = 0;
    if (this.#length > 0) {
      search = this.#length;
      this.#keep(piece);
      bytes = this.#rest.subarray(0, this.#length);
    }
    let start = 0;
    for (let end = bytes.indexOf(LINE_FEED, search); end >= 0; end = bytes.indexOf(LINE_FEED, start)) {
      this.#onLine(bytes, start, end > start && bytes[end - 1] === CARRIAGE_RETURN ? end - 1 : end);
      start = end + 1;
    }
    if (bytes === piece) {
      if (start < piece.length) this.#keep(piece.subarray(start));
    } else if (start > 0) {
      this.#rest.copyWithin(0, start, this.#length);
      this.#length -= start;
    }
  }

  /** @returns the bytes after the last line end. */
  get rest(): Uint8Array {
    return this.#rest.subarray(0, this.#length);
  }

  /** Doubles when it must grow, so that one long line in many pieces is not copied again for each of them. */
  #keep(piece: Uint8Array): void {
    const length = this.#length + piece.length;
    if (length > this.#rest.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#rest.length));
      larger.set(this.#rest.subarray(0, this.#length));
      this.#rest = larger;
    }
    this.#rest.set(piece, this.#length);
    this.#length = length;
  }
}
