import type { PathRemainderBelow, ServedRoutePath } from '../edge/answers.ts';
import { isRetryable, isSafeToRetryRead } from './errors.ts';
import { readJsonLines } from './lines.ts';
import { computeBackoffMs, sleepUntilPageReturn } from './pause.ts';
import type { Batch, BatchDeletion, BatchEstimate, BatchRequest, BatchResult, Page, PageRequest } from './requests.ts';
import { MAX_PAUSE_MS, retryWithBackoff } from './retry-patiently.ts';
import { createConnectionError, createIdempotencyKey, encodePathSegment, type Transport } from './transport.ts';

const BATCHES_BASE_PATH = '/v1/messages/batches';
const buildBatchPath = (id: string, rest: PathRemainderBelow<'/v1/messages/batches/:id'> = ''): ServedRoutePath =>
  `${BATCHES_BASE_PATH}/${encodePathSegment(id)}${rest}`;

/** After this many failures in a row, waiting is given up. That takes about eight minutes while the machine is awake. */
const MAX_FAILURES = 20;
const MAX_CREATE_RETRIES = 2;

export interface BatchOptions {
  /** Aborting it ends the call with the error `closed`. */
  signal?: AbortSignal | undefined;
}

export interface BatchCreateOptions extends BatchOptions {
  /** The same key with the same batch returns the batch that was made before. Without a key, each call makes its own. */
  idempotencyKey?: string | undefined;
}

export interface BatchWaitOptions extends BatchOptions {
  /** Called with the batch after each question to the edge. */
  onProgress?: ((batch: Batch) => void) | undefined;
}

/** Makes the calls for the account's batches: many requests that are sent together, at half price. */
export function createBatchesClient(transport: Transport) {
  const retrieve = (id: string, { signal }: BatchOptions = {}): Promise<Batch> =>
    transport.requestJson(buildBatchPath(id), { signal });

  return {
    /**
     * Creates a batch. If the connection fails, it is sent again with the same key, so that there are never two batches.
     *
     * @param batch its requests, or a `Blob` of its JSON, so that a large batch need not be a string
     * @example
     * const { id } = await sluice.batches.create({
     *   requests: [{ custom_id: 'first', params: { model, max_tokens: 4_096, messages } }],
     * });
     * show(id);
     */
    create(
      batch: BatchRequest | Blob,
      { signal, idempotencyKey = createIdempotencyKey() }: BatchCreateOptions = {},
    ): Promise<Batch> {
      const headers = { 'idempotency-key': idempotencyKey };
      const sendBatch = () =>
        transport.requestJson<Batch>(BATCHES_BASE_PATH, { method: 'POST', body: batch, headers, signal });
      return retryWithBackoff(sendBatch, isRetryable, MAX_CREATE_RETRIES, signal);
    },
    /**
     * Returns the maximum cost of a batch, and whether the account's budget covers it. Nothing is sent to Claude.
     *
     * @example show(await sluice.batches.dryRun({ requests }));
     */
    dryRun: (batch: BatchRequest | Blob, { signal }: BatchOptions = {}): Promise<BatchEstimate> =>
      transport.requestJson(BATCHES_BASE_PATH, { method: 'POST', body: batch, query: { dry_run: true }, signal }),
    /** Gets a batch. @example show((await sluice.batches.retrieve(batch.id)).processing_status); */
    retrieve,
    /**
     * Lists the batches, newest first.
     *
     * @param page how many to ask for at a time, and after which one to begin
     * @example for await (const { id, cost_usd } of sluice.batches.list()) show(id, cost_usd);
     */
    async *list(page: Omit<PageRequest, 'before_id'> = {}): AsyncGenerator<Batch, void, void> {
      for (let query = page; ; ) {
        const { data, has_more, last_id } = await transport.requestJson<Page<Batch>>(BATCHES_BASE_PATH, { query });
        yield* data;
        if (!has_more || last_id === null) return;
        query = { ...page, after_id: last_id };
      }
    },
    /**
     * Cancels the items that no model has begun to answer. The batch ends some time later.
     *
     * @example
     * const { id } = await sluice.batches.create({ requests });
     * show((await sluice.batches.cancel(id)).processing_status);
     */
    cancel: (id: string): Promise<Batch> => transport.requestJson(buildBatchPath(id, '/cancel'), { method: 'POST' }),
    /** Deletes a batch that has ended. @example await sluice.batches.delete(batch.id); */
    delete: (id: string): Promise<BatchDeletion> => transport.requestJson(buildBatchPath(id), { method: 'DELETE' }),
    /**
     * Yields the results of an ended batch as they arrive, in any order.
     *
     * @throws SluiceError `connection_error` if they break off, even if that looks like their end
     * @example
     * for await (const { custom_id, result } of sluice.batches.results(batch.id)) show(custom_id, result.type);
     */
    async *results(id: string, { signal }: BatchOptions = {}): AsyncGenerator<BatchResult, void, void> {
      const { request_counts } = await retrieve(id, { signal });
      let missing = Object.values(request_counts).reduce((sum, count) => sum + count, 0);
      const response = await transport.sendRequest(buildBatchPath(id, '/results'), { signal });
      for await (const result of readJsonLines<BatchResult>(response, signal)) {
        missing -= 1;
        yield result;
      }
      if (missing > 0) throw createConnectionError(new Error(`${missing} results are missing`));
    },
    /**
     * Waits until a batch has ended, or is `unknown`. It polls with increasing intervals, respects the edge's `retry-after`,
     * and continues when the network fails.
     *
     * @throws SluiceError `closed` if the signal is aborted; what the edge says, if asking again cannot help
     * @example
     * const ended = await sluice.batches.waitFor(batch.id, { onProgress: ({ request_counts }) => show(request_counts) });
     * show(ended.cost_usd);
     */
    async waitFor(id: string, { signal, onProgress }: BatchWaitOptions = {}): Promise<Batch> {
      for (let polls = 0; ; polls += 1) {
        const batch = await retryWithBackoff(
          () => transport.requestJsonWithTimeout<Batch>(buildBatchPath(id), { signal }),
          isSafeToRetryRead,
          MAX_FAILURES,
          signal,
        );
        onProgress?.(batch);
        if (batch.processing_status === 'ended' || batch.unknown !== undefined) return batch;
        await sleepUntilPageReturn(computeBackoffMs(polls, 0, MAX_PAUSE_MS), signal);
      }
    },
  };
}

export type BatchesClient = ReturnType<typeof createBatchesClient>;
