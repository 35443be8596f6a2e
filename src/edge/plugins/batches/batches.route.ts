import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import { route } from '../../auth/route.ts';
import type { AnsweredCall } from '../../claude/exchange.ts';
import { forwardResponse } from '../../claude/forward-response.ts';
import { upstreamFor } from '../../claude/upstream.ts';
import { finalError, notFound, retryableError } from '../../kit/http/errors.ts';
import { readPage } from '../../kit/http/page.ts';
import { createTextStream } from '../../kit/http/text-stream.ts';
import { accountOf } from '../../money/contracts/call-account.ts';
import type { MessageBatch } from '../../money/lists/batches-answers.schema.ts';
import { batchQuery } from './batches.schema.ts';
import { callBatch } from './call-batch.ts';
import type { BatchState, LabelTask, UpstreamBatch } from './contracts/batch.ts';
import { createBatch, isBatchId } from './create-batch.ts';
import { writeLabelLines } from './label-results.ts';
import { BATCHES_PATH, CLASSIFICATIONS_PATH, isUnknownUpstream, UpstreamBatches } from './upstream-batches.ts';

/** The routes of message batches, the same as Anthropic's. Each batch belongs to the account that has made it. */
export const BATCH_ROUTES = [
  route('POST /v1/messages/batches', { needs: 'messages', query: batchQuery }, (c) => createBatch(c)),
  route('GET /v1/messages/batches', { needs: 'messages', pages: true }, async (c) => {
    const page = readPage(c.req.query());
    const list = await accountOf(c, c.get('identity').account)((account) => account.batches(page));
    return c.json({ ...list, data: list.data.map((batch) => withOwnUrl(c, batch)) });
  }),
  route('GET /v1/messages/batches/:id', { needs: 'messages' }, async (c) =>
    c.json(withOwnUrl(c, requireBatch(await callBatch(batchKey(c), (batch) => batch.read())).batch)),
  ),
  route('DELETE /v1/messages/batches/:id', { needs: 'messages' }, async (c) => {
    const place = batchKey(c);
    const outcome = await callBatch(place, (batch) => batch.remove());
    if (outcome === 'none') throw batchNotFound();
    if (outcome === 'running') {
      throw finalError('invalid_request_error', 'This batch has not ended. Cancel it first.');
    }
    return c.json({ id: place.id, type: 'message_batch_deleted' });
  }),
  route('POST /v1/messages/batches/:id/cancel', { needs: 'messages' }, async (c) =>
    c.json(withOwnUrl(c, requireBatch(await callBatch(batchKey(c), (batch) => batch.cancel())).batch)),
  ),
  route('GET /v1/messages/batches/:id/results', { needs: 'messages' }, (c) => streamResults(c)),
];

/** The same of classifications: a batch that was asked of `/classify`, whose results are read as labels. */
export const CLASSIFICATION_ROUTES = [
  route('GET /classifications/:id', { needs: 'classify' }, async (c) =>
    c.json(withOwnUrl(c, batchWithUpstream(await callBatch(batchKey(c), (batch) => batch.read())).batch)),
  ),
  route('GET /classifications/:id/results', { needs: 'classify' }, async (c) => {
    const { batch, upstream, labels } = batchWithUpstream(await callBatch(batchKey(c), (object) => object.read()));
    const lines = writeLabelLines(await openResults(c, batch, upstream), labels, batch.cost_usd);
    return new Response(createTextStream(lines), { headers: { 'content-type': 'application/jsonl' } });
  }),
  route('POST /classifications/:id/cancel', { needs: 'classify' }, async (c) => {
    const place = batchKey(c);
    batchWithUpstream(await callBatch(place, (batch) => batch.read()));
    return c.json(withOwnUrl(c, batchWithUpstream(await callBatch(place, (batch) => batch.cancel())).batch));
  }),
];

/** The error for a batch without results. A batch that never reached the upstream has none either. */
const NO_RESULTS = 'This batch has no results, or has not ended yet.';

/** Streams the results to the caller unchanged. */
async function streamResults(c: Context<AppEnv>): Promise<Response> {
  const { batch, upstream } = requireBatch(await callBatch(batchKey(c), (object) => object.read()));
  const answered = await openResults(c, batch, upstream);
  // Not the upstream's type: in a browser, what a model has written must never be a page of this edge.
  const { waitUntil } = contextOf(c);
  return forwardResponse(answered, { 'content-type': 'application/x-jsonl' }, { entry: c.get('entry'), waitUntil });
}

/** Has the upstream send results. @throws ApiError 404 if there are none, 503 if they cannot be read now */
async function openResults(
  c: Context<AppEnv>,
  batch: MessageBatch,
  upstream: UpstreamBatch | undefined,
): Promise<AnsweredCall> {
  if (batch.results_url === null || !upstream) throw notFound(NO_RESULTS);
  const calls = new UpstreamBatches(upstreamFor(c), c.get('settings'), upstream);
  try {
    return await calls.results(upstream.id, c.req.raw.signal);
  } catch (thrown) {
    if (isUnknownUpstream(thrown)) throw notFound(NO_RESULTS);
    throw retryableError('The results could not be read. Try again.', 'batch_results', { cause: thrown });
  }
}

/** @throws ApiError 404 if it is not a classification of this caller */
function batchWithUpstream(state: BatchState): {
  batch: MessageBatch;
  upstream: UpstreamBatch | undefined;
  labels: LabelTask;
} {
  const { labels, ...known } = requireBatch(state);
  if (labels === undefined) throw batchNotFound();
  return { ...known, labels: JSON.parse(labels) as LabelTask };
}

/** @throws ApiError 404 if it is not a batch of this caller */
function requireBatch(state: BatchState): Extract<BatchState, { kind: 'known' }> {
  if (state.kind !== 'known') throw batchNotFound();
  return state;
}

/** @returns a batch with the address of its results, as this caller reaches the edge. */
function withOwnUrl(c: Context<AppEnv>, batch: MessageBatch): MessageBatch {
  if (batch.results_url === null) return batch;
  const { origin, pathname } = new URL(c.req.url);
  const path = pathname.includes(BATCHES_PATH) ? BATCHES_PATH : CLASSIFICATIONS_PATH;
  const base = pathname.slice(0, pathname.lastIndexOf(path));
  return { ...batch, results_url: `${origin}${base}${path}/${batch.id}/results` };
}

function batchKey(c: Context<AppEnv>) {
  const id = c.req.param('id') ?? '';
  if (!isBatchId(id)) throw batchNotFound();
  return { env: c.env, settings: c.get('settings'), account: c.get('identity').account, id };
}

function batchNotFound() {
  return notFound('There is no such batch.');
}
