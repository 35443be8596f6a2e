import { composeMessage } from '../answer/compose-message.ts';
import { messageBody } from '../answer/message-events.ts';
import { type Digest, digest, identifier } from '../random/digest.ts';
import { ApiError } from '../request/errors.ts';
import type { Judgement } from '../request/message-params.ts';
import { readPieces } from '../store/pieces.ts';
import type { SimulatorStore } from '../store/store.ts';
import { decoder, encoder } from '../text/utf8.ts';
import { type Batch, outcomesOf } from './batch.ts';
import { type Item, judgeItem } from './read-items.ts';

const NEWLINE = 0x0a;
/** Lines are sent together once they have this length, in UTF-16 units. */
const LONG_ENOUGH = 65_536;
/** The API sends results in no order. Here groups of this many come in reverse. */
const TURNED = 10;

async function* linesOf(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let begun: Uint8Array<ArrayBuffer>[] = [];
  for await (const piece of pieces) {
    let from = 0;
    for (let at = piece.indexOf(NEWLINE); at >= 0; at = piece.indexOf(NEWLINE, from)) {
      const end = piece.subarray(from, at);
      from = at + 1;
      yield begun.length === 0 ? decoder.decode(end) : await new Blob([...begun, end.slice()]).text();
      begun = [];
    }
    if (from < piece.byteLength) begun.push(piece.slice(from));
  }
}

/** Writes the result of an item that has ended. The same item of the same batch always gets the same. */
function resultOf(
  item: Item,
  outcome: string | undefined,
  batch: Batch,
  judgement: Judgement,
): Record<string, unknown> {
  if (outcome === 'c') return { type: 'canceled' };
  if (outcome === 'x') return { type: 'expired' };
  const nonce: Digest = digest(`${batch.id}:${item.custom_id}`, judgement.seed);
  try {
    const judged = judgeItem(item, judgement);
    if (outcome === 'e') throw new ApiError(500, 'Internal server error');
    const composing = { seed: judgement.seed, nonce, text: undefined, stopReason: undefined };
    const { message } = composeMessage(item.params, judged, composing);
    return { type: 'succeeded', message: messageBody({ ...message, tier: 'batch' }) };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return { type: 'errored', error: JSON.parse(error.envelope(identifier('req_', nonce))) };
  }
}

/** Writes the results of a batch that has ended, as JSON lines, while they are read. */
export async function* resultsOf(
  batch: Batch,
  judgement: Judgement,
  store: SimulatorStore,
): AsyncGenerator<Uint8Array> {
  const outcomes = outcomesOf(batch);
  let index = 0;
  let turned: string[] = [];
  let text = '';
  for await (const line of linesOf(readPieces(store, batch.id, batch.pieces))) {
    const item = JSON.parse(line) as Item;
    const result = resultOf(item, outcomes[index], batch, judgement);
    index++;
    turned.push(`${JSON.stringify({ custom_id: item.custom_id, result })}\n`);
    if (turned.length < TURNED) continue;
    text += turned.reverse().join('');
    turned = [];
    if (text.length < LONG_ENOUGH) continue;
    yield encoder.encode(text);
    text = '';
  }
  text += turned.reverse().join('');
  if (text !== '') yield encoder.encode(text);
}
