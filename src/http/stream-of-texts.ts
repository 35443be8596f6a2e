import { encoder } from './bytes.ts';

/** Many short texts are joined to pieces of about so many characters: each piece crosses to another object by itself. */
const PIECE = 32_768;

function* inPieces(texts: Iterable<string>): Generator<string> {
  let piece = '';
  for (const text of texts) {
    piece += text;
    if (piece.length < PIECE) continue;
    yield piece;
    piece = '';
  }
  if (piece !== '') yield piece;
}

/**
 * Makes each piece of a stream when it is read. Only the first one of texts that wait for nothing is made at once.
 *
 * @returns texts as a stream of bytes
 * @throws what making that first piece throws, so that an answer can still say it
 */
export function streamOfTexts(texts: Generator<string> | AsyncGenerator<string>): ReadableStream<Uint8Array> {
  const pieces = Symbol.iterator in texts ? inPieces(texts) : texts;
  let begun = Symbol.iterator in pieces ? pieces.next() : undefined;
  const source: UnderlyingByteSource = {
    type: 'bytes',
    async pull(controller) {
      const { value, done } = begun ?? (await pieces.next());
      begun = undefined;
      if (!done) {
        controller.enqueue(encoder.encode(value));
        return;
      }
      controller.close();
      controller.byobRequest?.respond(0);
    },
    async cancel() {
      await pieces.return(undefined);
    },
  };
  return new ReadableStream(source, { highWaterMark: 0 });
}
