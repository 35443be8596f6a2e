/** Memory that is given back at once, where a collection would come late. */

/** How many streams that are still read have a buffer in them; and those that nobody else wants. */
const used = new WeakMap<ArrayBufferLike, number>();
const unwanted = new WeakSet<ArrayBufferLike>();

/**
 * Keeps the memory of bytes as long as something reads them.
 *
 * @returns what is to be called once they have been read
 */
export function use(pieces: readonly Uint8Array[]): () => void {
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

/** Gives the memory of bytes back: at once, or when what reads them has come to its end. They are empty then. */
export function release({ buffer }: Uint8Array): void {
  if (used.get(buffer)) unwanted.add(buffer);
  else detach(buffer);
}

function detach(buffer: ArrayBufferLike): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
