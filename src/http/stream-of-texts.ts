import { encoder } from './bytes.ts';

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
