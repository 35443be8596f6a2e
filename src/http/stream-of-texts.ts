import { encoder } from './bytes.ts';

/** A stream begins with so many characters, as far as there are so many. */
const BEGINNING = 65_536;

/** @returns texts as a stream of bytes. @throws what making the first ones throws, so that an answer can still say it */
export function streamBegun(texts: Generator<string>): ReadableStream<Uint8Array> {
  let beginning = '';
  for (let next = texts.next(); !next.done; next = texts.next()) {
    beginning += next.value;
    if (beginning.length > BEGINNING) break;
  }
  function* all(): Generator<string> {
    yield beginning;
    yield* texts;
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
