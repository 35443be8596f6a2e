/**
 * Reads streams late. One read of the runtime's brings one chunk of the network, and costs JavaScript more than relaying
 * the chunk; of what has come and lies in memory one read brings all.
 */

/** At the end too the runtime gives the buffer back, though the types do not say so. */
export type Piece = { value?: Uint8Array | undefined; done: boolean };

/** Says whether more of a stream may come, of which so many bytes have come: a promise says when. */
type RoomForMore = (bytes: number) => Promise<void> | undefined;

const TEE_PIECE_BYTES = 65_536;
/** What a slow answer brings between two looks fits into this: an open answer must not hold a large buffer all the time. */
export const SMALL_PIECE_BYTES = 4_096;
/** A new buffer is filled with zeros, which costs more than reading a short answer into it. */
const spareBuffers: ArrayBuffer[] = [];
const MOST_SPARE_BUFFERS = 16;

/** @returns a buffer of `TEE_PIECE_BYTES`. */
export function takeBuffer(): ArrayBuffer {
  return spareBuffers.pop() ?? new ArrayBuffer(TEE_PIECE_BYTES);
}

/** Gives back the buffer of what was read. */
export function keepBuffer({ buffer }: Uint8Array): void {
  if (buffer.byteLength === TEE_PIECE_BYTES && spareBuffers.length < MOST_SPARE_BUFFERS)
    spareBuffers.push(buffer as ArrayBuffer);
}

/** @returns what pauses, and what ends a pause: a timer that is left to run out costs the isolate a turn of its own. */
export function pausesOf(ms: number): { pause(): Promise<void>; wake(): void } {
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
  return { pause, wake };
}

/**
 * Reads a copy of a stream to its end, looking at it now and then.
 *
 * @param carried what carries the stream itself on; once it has ended, the rest is read without waiting
 * @param take gets each piece, whose buffer is used again, whether it was all that had come, and when the first of it may
 *   have come; true ends the reading
 * @throws what the copy broke with, after all that came before
 */
export async function readTee(
  reader: ReadableStreamBYOBReader,
  carried: Promise<boolean>,
  pauseMs: number,
  take: (piece: Uint8Array, isAll: boolean, since: number) => boolean,
): Promise<void> {
  let end = 'open' as 'open' | 'whole' | 'broken';
  const { pause, wake } = pausesOf(pauseMs);
  void carried.then((whole) => {
    end = whole ? 'whole' : 'broken';
    wake();
  });
  let small: ArrayBuffer = new ArrayBuffer(SMALL_PIECE_BYTES);
  let needsLarge = false;
  let hasMore = false;
  /** When all had been read that had come by then. */
  let emptyAt = Date.now();
  for (;;) {
    if (end === 'open' && !hasMore) await pause();
    // Behind a whole stream nothing more will come but what lies here already: it is read in one.
    const isRest = end === 'whole';
    const isLarge: boolean = isRest || needsLarge;
    const view: Uint8Array<ArrayBuffer> = new Uint8Array(isLarge ? takeBuffer() : small);
    const room = view.length;
    const lookedAt = Date.now();
    const { value, done }: Piece = await (isRest ? reader.readAtLeast(TEE_PIECE_BYTES, view) : reader.read(view));
    const length = value?.length ?? 0;
    const readAt = Date.now();
    // What lay there is read at once, though a busy runtime may take a moment. A longer read has waited for what came.
    const since = readAt - lookedAt > pauseMs ? lookedAt : emptyAt;
    const isTaken = value !== undefined && length > 0 && take(value, length < room, since);
    if (length < room) emptyAt = readAt;
    if (value && isLarge) keepBuffer(value);
    else if (value) small = value.buffer as ArrayBuffer;
    if (isTaken || done || (isRest && length < TEE_PIECE_BYTES)) break;
    needsLarge = length >= SMALL_PIECE_BYTES;
    hasMore = !isLarge && needsLarge;
  }
}

/**
 * Has a stream come without looking at it, so that its copy can be read late.
 *
 * The runtime's pipe takes each chunk as it comes: a read of many at once would keep the copy waiting as well, and lose
 * them both where the stream breaks.
 *
 * @param room is told how many bytes have come, and may return a promise for when more may come. Default: they come at once
 * @returns a reader, to cancel it by, and whether the stream has come whole, which never rejects
 */
export function pumpStream(
  stream: ReadableStream<Uint8Array>,
  room?: RoomForMore,
): {
  reader: ReadableStreamBYOBReader;
  whole: Promise<boolean>;
} {
  const { readable, writable } = new IdentityTransformStream();
  const reader = readable.getReader({ mode: 'byob' });
  const whole = stream.pipeTo(writable).then(
    () => true,
    // Who reads the copy is told of it there.
    () => false,
  );
  void drain(reader, room);
  return { reader, whole };
}

/**
 * Reads a stream to its end without looking at it.
 *
 * @returns whether it came whole; it never rejects
 */
export async function drain(reader: ReadableStreamBYOBReader, room?: RoomForMore): Promise<boolean> {
  let buffer = takeBuffer();
  let bytes = 0;
  try {
    for (;;) {
      const { value, done }: Piece = await reader.readAtLeast(TEE_PIECE_BYTES, new Uint8Array(buffer));
      if (value) buffer = value.buffer as ArrayBuffer;
      if (done || !value || value.length < TEE_PIECE_BYTES) break;
      bytes += value.length;
      await room?.(bytes);
    }
    keepBuffer(new Uint8Array(buffer));
    return true;
  } catch {
    return false;
  }
}
