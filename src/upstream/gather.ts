/**
 * Carries dense streams down. Each event that goes down alone costs the runtime more than its bytes do. What comes denser
 * than a screen shows is gathered for some milliseconds and goes down in one piece.
 */

import { keepBuffer, type Piece, pausesOf, pumpStream, SMALL_PIECE_BYTES, takeBuffer } from './tee-reader.ts';

/** How long what has come is held at most, so that more can join it. */
const GATHER_MS = 8;
/** A piece that comes sooner than this after the one before it is dense. */
const DENSE_GAP_MS = 3;
/** So many dense pieces in a row make a dense stream: two or three come together at the beginning of most answers. */
const DENSE_PIECES = 4;
/** If less comes while it is gathered, the native pipe is cheaper. */
const SPARSE_BYTES = 1_024;
/** So many sparse pieces make a sparse stream. One alone may be a moment in which the machine did something else. */
const SPARSE_PIECES = 4;

/** Where pieces go, in their order. */
export interface PieceSink {
  /**
   * Takes a piece, whose buffer is used again once the promise has settled.
   *
   * @returns settles when the piece is on its way down; rejects when nobody takes it any more
   */
  take(piece: Uint8Array): Promise<void>;
  /** Is told when the upstream must wait because a piece is not taken, and when it need not any more. */
  onWait(waits: boolean): void;
}

/** What became of a stream: `sparse` if it goes on, but comes too slowly to be gathered. */
export type Gathered = 'ended' | 'left' | { sparse: ReadableStream<Uint8Array> };

/**
 * Reads the first pieces of a stream one by one until it is known how densely they come: sixteen at most.
 *
 * @param take gets each piece at once; its buffer is used again
 * @throws what the stream broke with
 */
export async function probeDensity(
  reader: ReadableStreamBYOBReader,
  take: (piece: Uint8Array, at: number) => void,
): Promise<'ended' | 'dense' | 'sparse'> {
  // What comes slowly waits for long, and must not hold a large buffer meanwhile.
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
 * once; what comes within `GATHER_MS` behind it goes together. Bytes and their order stay. If the sink does not take a
 * piece, no more is read of the stream than fits into two buffers.
 *
 * @throws what the stream broke with, after all that came before
 */
export async function gather(body: ReadableStream<Uint8Array>, sink: PieceSink): Promise<Gathered> {
  const [stream, copy] = body.tee();
  let taken = 0;
  let goOn: (() => void) | undefined;
  let isOver = false;
  const { pause, wake } = pausesOf(GATHER_MS);
  // The runtime itself fetches what comes; JavaScript finds it together in the copy.
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
  while (sparse < SPARSE_PIECES) {
    const { value, done }: Piece = await reader.read(new Uint8Array(buffer));
    if (done || !value) {
      if (value) keepBuffer(value);
      return 'ended';
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
    if (!isTaken) {
      for (const one of [reader, driving]) one.cancel().catch(ignoreEnded);
      return 'left';
    }
    sparse = value.length < SPARSE_BYTES && !isOver ? sparse + 1 : 0;
  }
  keepBuffer(new Uint8Array(buffer));
  reader.releaseLock();
  driving.cancel().catch(ignoreEnded);
  return { sparse: copy };
}

/** What has ended by itself cannot be cancelled. */
function ignoreEnded(): void {}
