import { WorkPacer } from '../async/run-in-steps.ts';
import { encoder } from './bytes.ts';

/** Many short texts are joined to pieces of about so many characters: each piece crosses to another object by itself. */
const TEXT_PIECE_CHARACTERS = 32_768;

/**
 * Makes each piece of a stream when it is read, and lets others work behind each stretch. Only the first stretch of texts that
 * wait for nothing is made at once.
 *
 * @returns texts as a stream of bytes
 * @throws what making that first stretch throws, so that an answer can still say it
 */
export function createTextStream(texts: Generator<string> | AsyncGenerator<string>): ReadableStream<Uint8Array> {
  const pacer = new WorkPacer();
  let [piece, isEnded] = ['', false];
  let turn: Promise<void> | undefined;
  const appendText = ({ value, done }: IteratorResult<string, unknown>) => {
    isEnded = done === true;
    if (done) return;
    piece += value;
    turn = pacer.waitForTurn(value.length);
  };
  const isPieceFull = () => isEnded || piece.length >= TEXT_PIECE_CHARACTERS;
  if (Symbol.iterator in texts) while (!turn && !isPieceFull()) appendText(texts.next());
  const source: UnderlyingByteSource = {
    type: 'bytes',
    async pull(controller) {
      for (;;) {
        await turn;
        turn = undefined;
        if (isPieceFull()) break;
        appendText(await texts.next());
      }
      if (piece !== '') {
        controller.enqueue(encoder.encode(piece));
        piece = '';
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
