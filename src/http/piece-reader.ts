import { pause } from '../async/pause.ts';

const BUFFER_BYTES = 65_536;
/** The bytes of a piece. They are processed in a few milliseconds. */
const TURN_BYTES = 262_144;

/**
 * Reads a long stream piece by piece into one buffer. A new buffer for each piece would leave megabytes of garbage.
 *
 * Now and then it pauses, so that the isolate's other requests get their turn. While bytes are ready, the runtime would look
 * at
 * no other connection.
 */
export class PieceReader {
  readonly #bytes: ReadableStreamBYOBReader | undefined;
  readonly #chunks: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #buffer = new ArrayBuffer(BUFFER_BYTES);
  #sinceTurn = 0;

  constructor(stream: ReadableStream<Uint8Array>) {
    // A stream made by JavaScript may not be a stream of bytes. Then it brings its own buffers.
    try {
      this.#bytes = stream.getReader({ mode: 'byob' });
    } catch {
      this.#chunks = stream.getReader();
    }
  }

  /** @returns the next piece, valid until the next call; undefined at the end. @throws the error that broke the stream */
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
