import { type Digest, digest, identifier } from '../random/digest.ts';
import { ApiError, invalid } from '../request/errors.ts';
import type { Judgement } from '../request/message-params.ts';
import { pageOf } from '../request/page.ts';
import { PieceWriter, removePieces } from '../store/pieces.ts';
import { Records } from '../store/records.ts';
import type { SimulatorStore } from '../store/store.ts';
import { type Batch, batchRow, DAY_MS, endOf, isArchived, RESULTS_MS } from './batch.ts';
import { readItems } from './read-items.ts';
import { resultsOf } from './results.ts';

/** Batches are forgotten a day after their results are. */
const BATCH_KEPT_SECONDS = (RESULTS_MS + DAY_MS) / 1000;

/** What a call about batches comes with. */
export interface BatchCall {
  /** Whose batches they are. */
  owner: string;
  /** The address of the API, without `/v1`. */
  base: string;
  judgement: Judgement;
}

/** The batches of the simulator, kept in a store. */
export class BatchesApi {
  readonly #store: SimulatorStore;
  readonly #records: Records<Batch>;

  constructor(store: SimulatorStore) {
    this.#store = store;
    this.#records = new Records(store, 'batch', BATCH_KEPT_SECONDS);
  }

  /**
   * Makes a batch of the items of a body, which is read as it comes in.
   *
   * @param durationMs how long all its items take, in milliseconds
   * @param nonce makes its id
   * @param obeysMarks whether an item may say how it ends
   * @throws ApiError in the API's words if the body is not a batch
   */
  async create(
    request: Request,
    { owner, base, judgement }: BatchCall,
    { durationMs, nonce, obeysMarks }: { durationMs: number; nonce: Digest; obeysMarks: boolean },
  ): Promise<Record<string, unknown>> {
    const id = identifier('msgbatch_', digest('batch', nonce));
    const writer = new PieceWriter(this.#store, id, BATCH_KEPT_SECONDS);
    const { now, protocol } = judgement;
    return await writer.orUndo(async () => {
      const outcomes = await readItems(request, writer, judgement, obeysMarks);
      const pieces = await writer.end();
      // Even without a duration, the first answer shows it in progress.
      const timing = { createdAt: now, durationMs: Math.max(1, durationMs), canceledAt: null };
      const batch: Batch = { id, ...timing, outcomes, pieces, protocol };
      await this.#records.save(owner, batch);
      return batchRow(batch, now, base);
    });
  }

  async list(query: URLSearchParams, { owner, base, judgement }: BatchCall): Promise<Record<string, unknown>> {
    const page = pageOf(await this.#records.ids(owner), query, 'message batch');
    const found = await Promise.all(page.data.map(({ id }) => this.#records.find(owner, id)));
    return { ...page, data: found.flatMap((batch) => (batch ? [batchRow(batch, judgement.now, base)] : [])) };
  }

  async retrieve(id: string, { owner, base, judgement }: BatchCall): Promise<Record<string, unknown>> {
    return batchRow(await this.#find(owner, id), judgement.now, base);
  }

  /** Cancels a batch that is being worked on. Doing so twice changes nothing. */
  async cancel(id: string, { owner, base, judgement }: BatchCall): Promise<Record<string, unknown>> {
    const { now } = judgement;
    const batch = await this.#find(owner, id);
    if (now >= endOf(batch)) throw invalid(`Batch ${id} cannot be canceled: its processing has ended`);
    const canceled = { ...batch, canceledAt: batch.canceledAt ?? now };
    await this.#records.save(owner, canceled);
    return batchRow(canceled, now, base);
  }

  async delete(id: string, { owner, judgement }: BatchCall): Promise<Record<string, unknown>> {
    const batch = await this.#find(owner, id);
    if (judgement.now < endOf(batch)) {
      throw invalid(`Batch ${id} cannot be deleted while it is in progress: cancel it first`);
    }
    await this.#records.remove(owner, batch);
    await removePieces(this.#store, id, batch.pieces);
    return { id, type: 'message_batch_deleted' };
  }

  /** @returns the results as JSON lines; each is made when it is read */
  async results(id: string, { owner, judgement }: BatchCall): Promise<AsyncGenerator<Uint8Array>> {
    const batch = await this.#find(owner, id);
    if (judgement.now < endOf(batch)) throw new ApiError(404, `Batch ${id} has no results yet: it is in progress`);
    if (isArchived(batch, judgement.now)) throw new ApiError(404, `The results of batch ${id} are no longer available`);
    // It is judged by the time of its creation, because a model may have been retired since.
    const then = { ...judgement, protocol: batch.protocol, now: batch.createdAt };
    return resultsOf(batch, then, this.#store);
  }

  async #find(owner: string, id: string): Promise<Batch> {
    const batch = await this.#records.find(owner, id);
    if (!batch) throw new ApiError(404, `Message batch ${id.slice(0, 100)} not found`);
    return batch;
  }
}
