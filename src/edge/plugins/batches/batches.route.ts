import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import { defineRoute } from '../../auth/route.ts';
import type { AnsweredExchange } from '../../claude/exchange.ts';
import { forwardResponse } from '../../claude/forward-response.ts';
import { getUpstreamOfContext } from '../../claude/upstream.ts';
import { createNonRetryableError, createNotFoundError, createRetryableError } from '../../kit/http/errors.ts';
import { parsePageQuery } from '../../kit/http/page.ts';
import { createTextStream } from '../../kit/http/text-stream.ts';
import { createAccountCaller } from '../../money/contracts/call-account.ts';
import type { MessageBatch } from '../../money/lists/batches-answers.schema.ts';
import { batchQuery } from './batches.schema.ts';
import { callBatch } from './call-batch.ts';
import type { BatchLabelTask, BatchState, UpstreamBatchLocation } from './contracts/batch.ts';
import { createBatch, isBatchId } from './create-batch.ts';
import { writeLabelLines } from './label-results.ts';
import { BATCHES_PATH, CLASSIFICATIONS_PATH, isBatchUnknownError, UpstreamBatchesClient } from './upstream-batches.ts';

/** The routes of message batches, the same as Anthropic's. Each batch belongs to the account that has made it. */
export const BATCH_ROUTES = [
  defineRoute('POST /v1/messages/batches', { needs: 'messages', query: batchQuery }, (c) => createBatch(c, c.req.raw)),
  defineRoute('GET /v1/messages/batches', { needs: 'messages', pages: true }, async (c) => {
    const page = parsePageQuery(c.req.query());
    const list = await createAccountCaller(c, c.get('identity').account)((account) => account.batches(page));
    return c.json({ ...list, data: list.data.map((batch) => setResultsUrl(c, batch)) });
  }),
  defineRoute('GET /v1/messages/batches/:id', { needs: 'messages' }, async (c) =>
    c.json(
      setResultsUrl(c, requireBatch(await callBatch(getBatchKeyFromPath(c), (batch) => batch.readBatchState())).batch),
    ),
  ),
  defineRoute('DELETE /v1/messages/batches/:id', { needs: 'messages', endsSpending: true }, async (c) => {
    const place = getBatchKeyFromPath(c);
    const outcome = await callBatch(place, (batch) => batch.deleteBatch());
    if (outcome === 'none') throw createBatchNotFoundError();
    if (outcome === 'running') {
      throw createNonRetryableError('invalid_request_error', 'This batch has not ended. Cancel it first.');
    }
    return c.json({ id: place.id, type: 'message_batch_deleted' });
  }),
  defineRoute('POST /v1/messages/batches/:id/cancel', { needs: 'messages', endsSpending: true }, async (c) =>
    c.json(
      setResultsUrl(c, requireBatch(await callBatch(getBatchKeyFromPath(c), (batch) => batch.cancelBatch())).batch),
    ),
  ),
  defineRoute('GET /v1/messages/batches/:id/results', { needs: 'messages' }, (c) => streamBatchResults(c)),
];

/** The same for classifications: a batch that was requested at `/classify`, whose results are read as labels. */
export const CLASSIFICATION_ROUTES = [
  defineRoute('GET /classifications/:id', { needs: 'classify' }, async (c) =>
    c.json(
      setResultsUrl(
        c,
        requireClassificationBatch(await callBatch(getBatchKeyFromPath(c), (batch) => batch.readBatchState())).batch,
      ),
    ),
  ),
  defineRoute('GET /classifications/:id/results', { needs: 'classify' }, async (c) => {
    const { batch, upstream, labels } = requireClassificationBatch(
      await callBatch(getBatchKeyFromPath(c), (object) => object.readBatchState()),
    );
    const lines = writeLabelLines(await requestUpstreamResults(c, batch, upstream), labels, batch.cost_usd);
    return new Response(createTextStream(lines), { headers: { 'content-type': 'application/jsonl' } });
  }),
  defineRoute('POST /classifications/:id/cancel', { needs: 'classify', endsSpending: true }, async (c) => {
    const place = getBatchKeyFromPath(c);
    requireClassificationBatch(await callBatch(place, (batch) => batch.readBatchState()));
    return c.json(
      setResultsUrl(c, requireClassificationBatch(await callBatch(place, (batch) => batch.cancelBatch())).batch),
    );
  }),
];

/** The error for a batch without results. A batch that never reached the upstream has none either. */
const NO_RESULTS = 'This batch has no results yet. Wait until its `processing_status` is `ended`.';

/** Streams the results to the caller unchanged. */
async function streamBatchResults(c: Context<AppEnv>): Promise<Response> {
  const { batch, upstream } = requireBatch(
    await callBatch(getBatchKeyFromPath(c), (object) => object.readBatchState()),
  );
  const answered = await requestUpstreamResults(c, batch, upstream);
  // Replace the upstream's content type, with which a browser could render model output as a page of this origin.
  const { waitUntil } = getRequestContext(c);
  return forwardResponse(answered, { 'content-type': 'application/x-jsonl' }, { entry: c.get('entry'), waitUntil });
}

/** Has the upstream send results. @throws ApiError 404 if there are none, 503 if they cannot be read now */
async function requestUpstreamResults(
  c: Context<AppEnv>,
  batch: MessageBatch,
  upstream: UpstreamBatchLocation | undefined,
): Promise<AnsweredExchange> {
  if (batch.results_url === null || !upstream) throw createNotFoundError(NO_RESULTS);
  const calls = new UpstreamBatchesClient(getUpstreamOfContext(c), c.get('settings'), upstream);
  try {
    return await calls.requestResults(upstream.id, c.req.raw.signal);
  } catch (thrown) {
    if (isBatchUnknownError(thrown)) throw createNotFoundError(NO_RESULTS);
    throw createRetryableError('The results could not be read. Try again.', 'batch_results', { cause: thrown });
  }
}

/** @throws ApiError 404 if it is not a classification of this caller */
function requireClassificationBatch(state: BatchState): {
  batch: MessageBatch;
  upstream: UpstreamBatchLocation | undefined;
  labels: BatchLabelTask;
} {
  const { labels, ...known } = requireBatch(state);
  if (labels === undefined) throw createBatchNotFoundError();
  return { ...known, labels: JSON.parse(labels) as BatchLabelTask };
}

/** @throws ApiError 404 if it is not a batch of this caller */
function requireBatch(state: BatchState): Extract<BatchState, { kind: 'known' }> {
  if (state.kind !== 'known') throw createBatchNotFoundError();
  return state;
}

/** @returns a batch with the address of its results, as this caller reaches the edge. */
function setResultsUrl(c: Context<AppEnv>, batch: MessageBatch): MessageBatch {
  if (batch.results_url === null) return batch;
  const { origin, pathname } = new URL(c.req.url);
  const path = pathname.includes(BATCHES_PATH) ? BATCHES_PATH : CLASSIFICATIONS_PATH;
  const base = pathname.slice(0, pathname.lastIndexOf(path));
  return { ...batch, results_url: `${origin}${base}${path}/${batch.id}/results` };
}

function getBatchKeyFromPath(c: Context<AppEnv>) {
  const id = c.req.param('id') ?? '';
  if (!isBatchId(id)) throw createBatchNotFoundError();
  return { env: c.env, settings: c.get('settings'), account: c.get('identity').account, id };
}

function createBatchNotFoundError() {
  return createNotFoundError('This batch does not exist. Check its id and the account.');
}
