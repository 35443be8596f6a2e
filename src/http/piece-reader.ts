import { pause } from '../async/pause.ts';

const BUFFER_BYTES = 65_536;
/** So much is worked on in a few milliseconds. */
const TURN_BYTES = 262_144;

/**
 * Reads a long stream piece by piece into one buffer. A buffer for each piece would be garbage by the megabyte.
 *
 * Now and then it gives the isolate's other requests their turn: as long as bytes are there to be read, the runtime looks
 * at no other connection.
 */
export class PieceReader {
  readonly #bytes: ReadableStreamBYOBReader | undefined;
  readonly #chunks: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #buffer = new ArrayBuffer(BUFFER_BYTES);
  #sinceTurn = 0;

  constructor(stream: ReadableStream<Uint8Array>) {
    // What JavaScript made may be no stream of bytes: it brings buffers of its own.
    try {
      this.#bytes = stream.getReader({ mode: 'byob' });
    } catch {
      this.#chunks = stream.getReader();
    }
  }

  /** @returns the next piece, valid until the next call; undefined at the end. @throws what the stream broke with */
  async read(): Promise<Uint8Array | undefined> {
    if (this.#sinceTurn >= TURN_BYTES) {
      this.#sinceTurn = 0;
      await pause(0);
    }
    const { value, done } = this.#bytes
      ? await this.#bytes.read(new Uint8Array(this.#buffer))
      : await (this.#chunks as ReadableStreamDefaultReader<Uint8Array>).read();
    // A read that was cancelled keeps the buffer.
    if (this.#bytes) this.#buffer = (value?.buffer as ArrayBuffer | undefined) ?? new ArrayBuffer(BUFFER_BYTES);
    if (done || !value) return undefined;
    this.#sinceTurn += value.length;
    return value;
  }

  async cancel(reason?: unknown): Promise<void> {
    await (this.#bytes ?? this.#chunks)?.cancel(reason);
  }

  releaseLock(): void {
    (this.#bytes ?? this.#chunks)?.releaseLock();
  }
}
