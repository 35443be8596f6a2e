/**
 * Carries dense streams down. Each event that goes down alone costs the runtime more than its bytes. So events that come
 * faster than a screen can show them are gathered for some milliseconds, and go down in one piece.
 */

import { keepBuffer, type Piece, pausesOf, pumpStream, SMALL_PIECE_BYTES, takeBuffer } from './tee-reader.ts';

/** The most milliseconds for which a piece waits so that more can join it. */
const GATHER_MS = 8;
/** A piece is dense if it comes sooner than this after the one before; milliseconds. */
const DENSE_GAP_MS = 3;
/** This many dense pieces in a row make a dense stream. (At the beginning of most answers two or three come together.) */
const DENSE_PIECES = 4;
/** If fewer bytes come in one gathering, the native pipe is cheaper. */
const SPARSE_BYTES = 1_024;
/** This many sparse pieces make a sparse stream. A single one may only mean that the machine was busy for a moment. */
const SPARSE_PIECES = 4;

/** Receives pieces in their order. */
export interface PieceSink {
  /**
   * Takes a piece. Its buffer is reused after the promise has settled.
   *
   * @returns a promise that settles when the piece is on its way down, and rejects when the caller has left
   */
  take(piece: Uint8Array): Promise<void>;
  /** Called when the upstream must wait because a piece is not taken, and when it need not wait any more. */
  onWait(waits: boolean): void;
  /** Called when the caller has left. The stream is read on. @returns a promise that settles when it is no more */
  onLeft(): Promise<void>;
}

/** How gathering ended. `sparse`: the stream goes on, but too slowly to be gathered. `left`: the caller has left. */
export type Gathered = 'ended' | 'left' | { sparse: ReadableStream<Uint8Array> };

/**
 * Reads the first pieces of a stream one by one, sixteen at most, until it is known how densely they come.
 *
 * @param take gets each piece at once. The buffer of the piece is reused
 * @throws the error that broke the stream
 */
export async function probeDensity(
  reader: ReadableStreamBYOBReader,
  take: (piece: Uint8Array, at: number) => void,
): Promise<'ended' | 'dense' | 'sparse'> {
  // A slow stream keeps this waiting for long. A large buffer must not be kept meanwhile.
  let buffer: ArrayBuffer = new ArrayBuffer(SMALL_PIECE_BYTES);
  let before = Date.now();
  let dense = 0;
  let sparse = 0;
  while (dense < DENSE_PIECES && sparse < SPARSE_PIECES) {
    const { value, done }: Piece = await reader.read(new Uint8Array(buffer));
    if (value) buffer = value.buffer as ArrayBuffer;
    if (done || !value) return 'ended';
    const at = Date.now();
    take(value, at);
    if (at - before < DENSE_GAP_MS) dense += 1;
    else {
      dense = 0;
      sparse += 1;
    }
    before = at;
  }
  return sparse < SPARSE_PIECES ? 'dense' : 'sparse';
}

/**
 * Carries a dense stream to its end, or until it is no longer dense. The first piece, and the first after a pause, goes at
 * once. The pieces of the next `GATHER_MS` go together. Bytes and their order do not change. While the sink does not take a
 * piece, the stream is read only as far as two buffers can hold.
 *
 * @throws the error that broke the stream, after everything that came before it
 */
export async function gather(body: ReadableStream<Uint8Array>, sink: PieceSink): Promise<Gathered> {
  const [stream, copy] = body.tee();
  let taken = 0;
  let goOn: (() => void) | undefined;
  let isOver = false;
  const { pause, wake } = pausesOf(GATHER_MS);
  // The runtime itself fetches the pieces. JavaScript then reads many of them together from the copy.
  const { reader: driving, whole } = pumpStream(stream, (driven) =>
    driven <= taken
      ? undefined
      : new Promise<void>((resolve) => {
          goOn = () => {
            if (driven <= taken) resolve();
          };
        }),
  );
  void whole.then(() => {
    isOver = true;
    wake();
  });
  const reader = copy.getReader({ mode: 'byob' });
  let buffer = takeBuffer();
  let sparse = 0;
  let hasLeft = false;
  while (hasLeft || sparse < SPARSE_PIECES) {
    const { value, done }: Piece = await reader.read(new Uint8Array(buffer)).catch((thrown) => {
      if (hasLeft) return { done: true };
      throw thrown;
    });
    if (done || !value) {
      if (value) keepBuffer(value);
      return hasLeft ? 'left' : 'ended';
    }
    buffer = value.buffer as ArrayBuffer;
    let isTaken: boolean | undefined;
    const taking = sink.take(value).then(
      () => {
        isTaken = true;
      },
      () => {
        isTaken = false;
      },
    );
    if (!isOver) await pause();
    if (isTaken === undefined) {
      sink.onWait(true);
      await taking;
      sink.onWait(false);
    }
    taken = isTaken ? taken + value.length : Number.POSITIVE_INFINITY;
    goOn?.();
    if (!isTaken && !hasLeft) {
      void sink.onLeft().then(() => {
        for (const one of [reader, driving]) one.cancel().catch(ignoreEnded);
      });
    }
    hasLeft ||= !isTaken;
    sparse = value.length < SPARSE_BYTES && !isOver ? sparse + 1 : 0;
  }
  keepBuffer(new Uint8Array(buffer));
  reader.releaseLock();
  driving.cancel().catch(ignoreEnded);
  return { sparse: copy };
}

/** Ignores the error of cancelling a stream that has already ended. */
function ignoreEnded(): void {}
