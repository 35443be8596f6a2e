/**
 * Reads copies of streams late. A read of a live stream brings one chunk of the network, and costs JavaScript more than
 * relaying the chunk. But one late read brings everything that waits in memory.
 */

import { WorkPacer } from '../../kit/async/run-in-steps.ts';

/** The result of a read. At the end of a stream the runtime returns the buffer, too, though the types do not say so. */
export type StreamReadResult = { value?: Uint8Array | undefined; done: boolean };

/** The most bytes of an answer that is kept until its end, many times what a model writes. It is in memory in several forms. */
export const MAX_BUFFERED_RESPONSE_BYTES = 16 * 1024 * 1024;
export const TEE_PIECE_BYTES = 65_536;
/** Enough for what a slow answer brings between two reads. An open answer must not hold a large buffer all the time. */
export const SMALL_PIECE_BYTES = 4_096;
/** Buffers to use again. A new buffer is filled with zeros, which costs more than reading a short answer into it. */
const spareBuffers: ArrayBuffer[] = [];
const MAX_SPARE_BUFFERS = 16;

/** @returns a buffer of `TEE_PIECE_BYTES`. */
export function takePooledBuffer(): ArrayBuffer {
  return spareBuffers.pop() ?? new ArrayBuffer(TEE_PIECE_BYTES);
}

/** Returns the buffer of a piece to the pool. */
export function returnPooledBuffer({ buffer }: Uint8Array): void {
  if (buffer.byteLength === TEE_PIECE_BYTES && spareBuffers.length < MAX_SPARE_BUFFERS)
    spareBuffers.push(buffer as ArrayBuffer);
}

/**
 * @returns the buffer for the piece after this one: a large one only while many bytes arrive, because an idle stream must not
 * occupy it
 */
export function chooseNextBuffer(piece: Uint8Array): ArrayBuffer {
  const isMuch = piece.length >= SMALL_PIECE_BYTES;
  if (isMuch === piece.buffer.byteLength > SMALL_PIECE_BYTES) return piece.buffer as ArrayBuffer;
  returnPooledBuffer(piece);
  return isMuch ? takePooledBuffer() : new ArrayBuffer(SMALL_PIECE_BYTES);
}

/**
 * @returns a function that pauses, and one that ends the pause. (A timer that is not ended would wake the isolate for
 * nothing.)
 */
function createWakeablePause(ms: number): { waitForTimeoutOrWake(): Promise<void>; endPause(): void } {
  let end: (() => void) | undefined;
  let timer: ReturnType<typeof setTimeout>;
  const pause = () =>
    new Promise<void>((resolve) => {
      end = resolve;
      timer = setTimeout(resolve, ms);
    });
  const wake = () => {
    clearTimeout(timer);
    end?.();
  };
  return { waitForTimeoutOrWake: pause, endPause: wake };
}

/**
 * Reads a copy of a stream to its end, with pauses between the reads. If many bytes have arrived, other work runs after each
 * piece.
 *
 * @param forwarded settles when the stream itself has been forwarded. Then the rest of the copy is read without pauses
 * @param take gets each piece, whether it was everything that had arrived, and the earliest time at which it may have arrived.
 *   It returns true to end the reading. The buffer of the piece is reused
 * @throws the error that broke the copy, after everything that arrived before it
 */
export async function readTeeCopyToEnd(
  reader: ReadableStreamBYOBReader,
  forwarded: Promise<boolean>,
  pauseMs: number,
  take: (piece: Uint8Array, hasReadAll: boolean, since: number) => boolean,
): Promise<void> {
  let end = 'open' as 'open' | 'whole' | 'broken';
  const { waitForTimeoutOrWake: pause, endPause: wake } = createWakeablePause(pauseMs);
  void forwarded.then((isWhole) => {
    end = isWhole ? 'whole' : 'broken';
    wake();
  });
  let small: ArrayBuffer = new ArrayBuffer(SMALL_PIECE_BYTES);
  let needsLarge = false;
  let hasMore = false;
  const pacer = new WorkPacer();
  /** The last time at which the copy had been read empty. */
  let emptyAt = Date.now();
  for (;;) {
    if (end === 'open' && !hasMore) await pause();
    else await pacer.waitForTurn(TEE_PIECE_BYTES);
    // After a complete stream no more bytes will follow, so read the buffered rest at once.
    const isRest = end === 'whole';
    const isLarge: boolean = isRest || needsLarge;
    const view: Uint8Array<ArrayBuffer> = new Uint8Array(isLarge ? takePooledBuffer() : small);
    const size = view.length;
    const lookedAt = Date.now();
    const { value, done }: StreamReadResult = await (isRest
      ? reader.readAtLeast(TEE_PIECE_BYTES, view)
      : reader.read(view));
    const length = value?.length ?? 0;
    const readAt = Date.now();
    // Buffered bytes are returned at once, or within `pauseMs` if the runtime is busy. A read that took longer waited for new
    // bytes.
    const since = readAt - lookedAt > pauseMs ? lookedAt : emptyAt;
    const isTaken = value !== undefined && length > 0 && take(value, length < size, since);
    if (length < size) emptyAt = readAt;
    if (value && isLarge) returnPooledBuffer(value);
    else if (value) small = value.buffer as ArrayBuffer;
    if (isTaken || done || (isRest && length < TEE_PIECE_BYTES)) break;
    needsLarge = length >= SMALL_PIECE_BYTES;
    hasMore = length === size;
  }
}

/**
 * Pipes a stream without reading it in JavaScript, so that its copy can be read late.
 *
 * The runtime's pipe takes each chunk as it arrives. Reading many chunks at once would make the copy wait, too, and both would
 * be lost if the stream breaks.
 *
 * @returns a reader, by which the stream can be cancelled, and a promise of whether the stream was complete. It never rejects
 */
export function pipeStreamToLateReader(stream: ReadableStream<Uint8Array>): {
  reader: ReadableStreamBYOBReader;
  whole: Promise<boolean>;
} {
  const { readable, writable } = new IdentityTransformStream();
  const reader = readable.getReader({ mode: 'byob' });
  const whole = stream.pipeTo(writable).then(
    () => true,
    // Ignore the error here: the reader of the other branch receives it, too, and handles it.
    () => false,
  );
  void drainReader(reader);
  return { reader, whole };
}

/**
 * Reads a stream to its end, and ignores the bytes. One without an end is cancelled.
 *
 * @returns whether the stream was complete. It never rejects
 */
export async function drainReader(reader: ReadableStreamBYOBReader): Promise<boolean> {
  let buffer = new ArrayBuffer(SMALL_PIECE_BYTES);
  let bytes = 0;
  try {
    for (;;) {
      const { value, done }: StreamReadResult = await reader.readAtLeast(SMALL_PIECE_BYTES, new Uint8Array(buffer));
      if (value) buffer = value.buffer as ArrayBuffer;
      if (done || !value || value.length < SMALL_PIECE_BYTES) break;
      bytes += value.length;
      if (bytes > MAX_BUFFERED_RESPONSE_BYTES)
        throw new RangeError(`The response is larger than ${MAX_BUFFERED_RESPONSE_BYTES} bytes.`);
    }
    return true;
  } catch {
    // Cancelling a broken stream rejects. Ignore that: the caller learns of the break from the result.
    reader.cancel().catch(() => undefined);
    return false;
  }
}
