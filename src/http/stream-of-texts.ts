import { encoder } from './bytes.ts';

/** Many short texts are joined to pieces of about so many characters: each piece crosses to another object by itself. */
const PIECE = 32_768;

/** Yields the same texts in fewer pieces. */
export function* inPieces(texts: Iterable<string>): Generator<string> {
  let piece = '';
  for (const text of texts) {
    piece += text;
    if (piece.length < PIECE) continue;
    yield piece;
    piece = '';
  }
  if (piece !== '') yield piece;
}

/** @returns texts as a stream of bytes. @throws what making the first piece throws, so that an answer can still say it */
export function streamBegun(texts: Iterable<string>): ReadableStream<Uint8Array> {
  const pieces = inPieces(texts);
  const { value: beginning = '' } = pieces.next();
  function* all(): Generator<string> {
    yield beginning;
    yield* pieces;
  }
  return streamOfTexts(all());
}

/** @returns texts as a stream of bytes; each is made when it is read. */
export function streamOfTexts(texts: Generator<string> | AsyncGenerator<string>): ReadableStream<Uint8Array> {
  const source: UnderlyingByteSource = {
    type: 'bytes',
    async pull(controller) {
      const { value, done } = await texts.next();
      if (!done) {
        controller.enqueue(encoder.encode(value));
        return;
      }
      controller.close();
      controller.byobRequest?.respond(0);
    },
    async cancel() {
      await texts.return(undefined);
    },
  };
  return new ReadableStream(source, { highWaterMark: 0 });
}
