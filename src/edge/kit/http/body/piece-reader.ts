import { pause } from '../../async/pause.ts';

/** The first buffer is small: most bodies are short, and one that waits for its bytes must not hold a large one. */
const FIRST_BUFFER_BYTES = 4_096;
const BUFFER_BYTES = 65_536;
/** The fewest bytes of a piece, unless it is the last. The runtime joins shorter chunks at a fiftieth of their cost here. */
const MIN_PIECE_BYTES = 4_096;
/** The bytes and the reads of a turn. They are processed in a few milliseconds, even if each read brings one byte. */
const TURN_BYTES = 131_072;
const TURN_READS = 16;

type ByteChunkReader = ReadableStreamDefaultReader<Uint8Array>;
/** The result of a read. At the end the runtime may return the buffer, too, though the types do not say so. */
type ByteReadResult = { value?: Uint8Array | undefined; done: boolean };

/**
 * Reads a stream piece by piece into one buffer. A new buffer for each chunk would have thousands of bytes, even if the chunk
 * has one: a sender of many short chunks would fill the isolate's memory.
 *
 * Now and then it pauses, so that the isolate's other requests and its timers get their turn. While bytes are ready, the
 * runtime would look at nothing else.
 */
export class StreamPieceReader {
  readonly #bytes: ReadableStreamBYOBReader | undefined;
  readonly #chunks: ByteChunkReader | undefined;
  readonly #isLive: boolean;
  #buffer = new ArrayBuffer(FIRST_BUFFER_BYTES);
  #turnBytes = 0;
  #turnReads = 0;
  #hasEnded = false;

  /** @param isLive whether each chunk is wanted as soon as it has arrived, as of a stream of events that may stay open */
  constructor(stream: ReadableStream<Uint8Array>, { isLive = false } = {}) {
    this.#isLive = isLive;
    // `getReader` throws for a stream that is not a byte stream, as a stream made in JavaScript may be. Read such a stream with
    // a default reader, which allocates the buffers itself.
    try {
      this.#bytes = stream.getReader({ mode: 'byob' });
    } catch {
      this.#chunks = stream.getReader();
    }
  }

  /** @returns the next piece, valid until the next call; undefined at the end. @throws the error that broke the stream */
  async read(): Promise<Uint8Array | undefined> {
    if (this.#hasEnded) return undefined;
    if (this.#turnBytes >= TURN_BYTES || this.#turnReads >= TURN_READS) {
      this.#turnBytes = 0;
      this.#turnReads = 0;
      await pause(0);
    }
    const { value, done } = await (this.#bytes
      ? this.#readIntoBuffer(this.#bytes)
      : (this.#chunks as ByteChunkReader).read());
    // The last piece may arrive together with `done`, so return it now, and the end at the next call.
    this.#hasEnded = done;
    if (!value || value.length === 0) return undefined;
    this.#turnBytes += value.length;
    this.#turnReads += 1;
    return value;
  }

  async #readIntoBuffer(reader: ReadableStreamBYOBReader): Promise<ByteReadResult> {
    const view = new Uint8Array(this.#buffer);
    // `readAtLeast` is specific to Workers; Node.js, where some tests run, does not have it.
    const joins = !this.#isLive && 'readAtLeast' in reader;
    const read: ByteReadResult = await (joins ? reader.readAtLeast(MIN_PIECE_BYTES, view) : reader.read(view));
    const { buffer, length = 0 } = read.value ?? {};
    const isShort = length === FIRST_BUFFER_BYTES && buffer?.byteLength === length;
    // A cancelled read does not return the buffer, so allocate a new one. Also replace the small first buffer once a piece has
    // filled it.
    this.#buffer = buffer instanceof ArrayBuffer && !isShort ? buffer : new ArrayBuffer(BUFFER_BYTES);
    return read;
  }

  async cancel(reason?: unknown): Promise<void> {
    await (this.#bytes ?? this.#chunks)?.cancel(reason);
  }

  releaseLock(): void {
    (this.#bytes ?? this.#chunks)?.releaseLock();
  }
}
