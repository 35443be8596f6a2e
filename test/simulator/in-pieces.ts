/** @returns a body that comes in pieces: each has one byte more than the next number says, again from the first one. */
export function inPieces(bytes: Uint8Array, sizes: readonly number[]): ReadableStream<Uint8Array> {
  let turn = 0;
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      const size = 1 + (sizes[turn++ % sizes.length] ?? 0);
      if (at >= bytes.length) controller.close();
      else controller.enqueue(bytes.slice(at, at + size));
      at += size;
    },
  });
}
