/** Frees the memory of large bodies at once, because the garbage collector would come too late. */

/** How many streams still read a buffer, and the buffers to free when the last stream has ended. */
const readerCounts = new WeakMap<ArrayBufferLike, number>();
const buffersToRelease = new WeakSet<ArrayBufferLike>();

/**
 * Keeps the memory of bytes from being freed while something reads them.
 *
 * @returns a function to call when they have been read
 */
export function delayBytesRelease(pieces: readonly Uint8Array[]): () => void {
  const buffers = new Set(pieces.map(({ buffer }) => buffer));
  for (const buffer of buffers) readerCounts.set(buffer, (readerCounts.get(buffer) ?? 0) + 1);
  return () => {
    for (const buffer of buffers) {
      const others = (readerCounts.get(buffer) ?? 1) - 1;
      readerCounts.set(buffer, others);
      if (others === 0 && buffersToRelease.has(buffer)) detachBuffer(buffer);
    }
  };
}

/** Frees the memory of bytes, at once or when the last reader has ended. Afterwards they are empty. */
export function freeBytes({ buffer }: Uint8Array): void {
  if (readerCounts.get(buffer)) buffersToRelease.add(buffer);
  else detachBuffer(buffer);
}

/** Frees the memory of bytes. @returns how many there were */
export function freeBytesAndReturnLength(bytes: Uint8Array): number {
  const { length } = bytes;
  freeBytes(bytes);
  return length;
}

function detachBuffer(buffer: ArrayBufferLike): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
