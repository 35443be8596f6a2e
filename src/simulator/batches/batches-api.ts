import { composeMessage } from '../answer/compose-message.ts';
import { createMessageBody } from '../answer/message-events.ts';
import { computeDigest, createApiIdentifier, type Digest } from '../random/digest.ts';
import { ApiError, createInvalidRequestError } from '../request/errors.ts';
import type { RequestValidationContext } from '../request/message-request.ts';
import { createPage } from '../request/page.ts';
import { PieceWriter, readStoredBody, removeStoredBody } from '../store/pieces.ts';
import { RecordStore } from '../store/records.ts';
import type { SimulatorStore } from '../store/store.ts';
import { decoder, encoder } from '../text/utf8.ts';
import {
  areResultsArchived,
  type Batch,
  computeBatchEnd,
  computeFinalOutcomes,
  createBatchResponse,
  DAY_MS,
  RESULTS_RETENTION_MS,
} from './batch.ts';
import { type BatchItem, readAndStoreBatchItems, validateBatchItem } from './read-items.ts';

/** Batches are forgotten a day after their results are. */
const BATCH_RETENTION_SECONDS = (RESULTS_RETENTION_MS + DAY_MS) / 1000;

export interface BatchRequestContext {
  owner: string;
  /** The address of the API, without `/v1`. */
  base: string;
  judgement: RequestValidationContext;
}

const NEWLINE = 0x0a;
/** Lines are sent together once they have this length, in UTF-16 units. */
const MIN_CHUNK_CHARACTERS = 65_536;
/**
 * The API returns results in any order (https://platform.claude.com/docs/en/build-with-claude/batch-processing). The simulator
 * reverses groups of this size.
 */
const REVERSED_GROUP_SIZE = 10;

/** The batches of the simulator, kept in a store. */
export class BatchesApi {
  readonly #store: SimulatorStore;
  readonly #records: RecordStore<Batch>;

  constructor(store: SimulatorStore) {
    this.#store = store;
    this.#records = new RecordStore(store, 'batch', BATCH_RETENTION_SECONDS);
  }

  /**
   * Makes a batch of the items of a body, which is read as it arrives in.
   *
   * @param durationMs how long all its items take, in milliseconds
   * @param nonce makes its id
   * @param obeysMarks whether an item may say how it ends
   * @throws ApiError in the API's words if the body is not a batch
   */
  async createBatch(
    request: Request,
    { owner, base, judgement }: BatchRequestContext,
    { durationMs, nonce, obeysMarks }: { durationMs: number; nonce: Digest; obeysMarks: boolean },
  ): Promise<Record<string, unknown>> {
    const id = createApiIdentifier('msgbatch_', computeDigest('batch', nonce));
    const writer = new PieceWriter(this.#store, id, BATCH_RETENTION_SECONDS);
    const { now, protocol } = judgement;
    return await writer.runAndRemoveOnFailure(async () => {
      const outcomes = await readAndStoreBatchItems(request, writer, judgement, obeysMarks);
      const pieces = await writer.finishWriting();
      // Let the batch take at least 1 ms, so that the first response always reports it as in progress.
      const timing = { createdAt: now, durationMs: Math.max(1, durationMs), canceledAt: null };
      const batch: Batch = { id, ...timing, outcomes, pieces, protocol };
      await this.#records.saveRecord(owner, batch);
      return createBatchResponse(batch, now, base);
    });
  }

  async listBatches(
    query: URLSearchParams,
    { owner, base, judgement }: BatchRequestContext,
  ): Promise<Record<string, unknown>> {
    const page = createPage(await this.#records.listIds(owner), query, 'message batch');
    const found = await Promise.all(page.data.map(({ id }) => this.#records.findRecord(owner, id)));
    return {
      ...page,
      data: found.flatMap((batch) => (batch ? [createBatchResponse(batch, judgement.now, base)] : [])),
    };
  }

  async retrieveBatch(id: string, { owner, base, judgement }: BatchRequestContext): Promise<Record<string, unknown>> {
    return createBatchResponse(await this.#requireBatch(owner, id), judgement.now, base);
  }

  /** Cancels a batch that is being worked on. Doing so twice changes nothing. */
  async cancelBatch(id: string, { owner, base, judgement }: BatchRequestContext): Promise<Record<string, unknown>> {
    const { now } = judgement;
    const batch = await this.#requireBatch(owner, id);
    if (now >= computeBatchEnd(batch))
      throw createInvalidRequestError(`Batch ${id} cannot be canceled: its processing has ended`);
    const canceled = { ...batch, canceledAt: batch.canceledAt ?? now };
    await this.#records.saveRecord(owner, canceled);
    return createBatchResponse(canceled, now, base);
  }

  async deleteBatch(id: string, { owner, judgement }: BatchRequestContext): Promise<Record<string, unknown>> {
    const batch = await this.#requireBatch(owner, id);
    if (judgement.now < computeBatchEnd(batch)) {
      throw createInvalidRequestError(`Batch ${id} cannot be deleted while it is in progress: cancel it first`);
    }
    await this.#records.removeRecord(owner, batch);
    await removeStoredBody(this.#store, id, batch.pieces);
    return { id, type: 'message_batch_deleted' };
  }

  /** @returns the results as JSON lines; each is made when it is read */
  async streamBatchResults(id: string, { owner, judgement }: BatchRequestContext): Promise<AsyncGenerator<Uint8Array>> {
    const batch = await this.#requireBatch(owner, id);
    if (judgement.now < computeBatchEnd(batch))
      throw new ApiError(404, `Batch ${id} has no results yet: it is in progress`);
    if (areResultsArchived(batch, judgement.now))
      throw new ApiError(404, `The results of batch ${id} are no longer available`);
    // Validate the items as of the batch's creation: a model that was retired since then must not make its results fail.
    const then = { ...judgement, protocol: batch.protocol, now: batch.createdAt };
    return generateResultLines(batch, then, this.#store);
  }

  async #requireBatch(owner: string, id: string): Promise<Batch> {
    const batch = await this.#records.findRecord(owner, id);
    if (!batch) throw new ApiError(404, `Message batch ${id.slice(0, 100)} not found`);
    return batch;
  }
}

async function* splitIntoLines(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
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
function createItemResult(
  item: BatchItem,
  outcome: string | undefined,
  batch: Batch,
  judgement: RequestValidationContext,
): Record<string, unknown> {
  if (outcome === 'c') return { type: 'canceled' };
  if (outcome === 'x') return { type: 'expired' };
  const nonce: Digest = computeDigest(`${batch.id}:${item.custom_id}`, judgement.seed);
  try {
    const judged = validateBatchItem(item, judgement);
    if (outcome === 'e') throw new ApiError(500, 'Internal server error');
    const composing = { seed: judgement.seed, nonce, text: undefined, stopReason: undefined };
    const { message } = composeMessage(item.params, judged, composing);
    return { type: 'succeeded', message: createMessageBody({ ...message, tier: 'batch' }) };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return { type: 'errored', error: JSON.parse(error.toEnvelopeJson(createApiIdentifier('req_', nonce))) };
  }
}

/** Writes the results of a batch that has ended, as JSON lines, while they are read. */
async function* generateResultLines(
  batch: Batch,
  judgement: RequestValidationContext,
  store: SimulatorStore,
): AsyncGenerator<Uint8Array> {
  const outcomes = computeFinalOutcomes(batch);
  let index = 0;
  let turned: string[] = [];
  let text = '';
  for await (const line of splitIntoLines(readStoredBody(store, batch.id, batch.pieces))) {
    const item = JSON.parse(line) as BatchItem;
    const result = createItemResult(item, outcomes[index], batch, judgement);
    index++;
    turned.push(`${JSON.stringify({ custom_id: item.custom_id, result })}\n`);
    if (turned.length < REVERSED_GROUP_SIZE) continue;
    text += turned.reverse().join('');
    turned = [];
    if (text.length < MIN_CHUNK_CHARACTERS) continue;
    yield encoder.encode(text);
    text = '';
  }
  text += turned.reverse().join('');
  if (text !== '') yield encoder.encode(text);
}
