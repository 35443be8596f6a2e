/** Frees the memory of large bodies at once, because the garbage collector would come too late. */

/** How many streams still read a buffer, and the buffers to free when the last stream has ended. */
const used = new WeakMap<ArrayBufferLike, number>();
const unwanted = new WeakSet<ArrayBufferLike>();

/**
 * Keeps the memory of bytes from being freed while something reads them.
 *
 * @returns a function to call when they have been read
 */
export function retainBytes(pieces: readonly Uint8Array[]): () => void {
  const buffers = new Set(pieces.map(({ buffer }) => buffer));
  for (const buffer of buffers) used.set(buffer, (used.get(buffer) ?? 0) + 1);
  return () => {
    for (const buffer of buffers) {
      const others = (used.get(buffer) ?? 1) - 1;
      used.set(buffer, others);
      if (others === 0 && unwanted.has(buffer)) detach(buffer);
    }
  };
}

/** Frees the memory of bytes, at once or when the last reader has ended. Afterwards they are empty. */
export function releaseBytes({ buffer }: Uint8Array): void {
  if (used.get(buffer)) unwanted.add(buffer);
  else detach(buffer);
}

/** Frees the memory of bytes. @returns how many there were */
export function releasedLength(bytes: Uint8Array): number {
  const { length } = bytes;
  releaseBytes(bytes);
  return length;
}

function detach(buffer: ArrayBufferLike): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
