import type { Context } from 'hono';
import { carriedDown } from '../../claude/carried-down.ts';
import { type Fetch, upstreamOf } from '../../claude/upstream.ts';
import { requireScope } from '../../gate/auth/authenticate.ts';
import { type AppEnv, accountOf, contextOf } from '../../gate/auth/context.ts';
import { finalError, notFound, tryAgain } from '../../kit/http/errors.ts';
import { Hono } from '../../kit/http/hono.ts';
import { readPage } from '../../kit/http/page.ts';
import type { MessageBatch } from './batches-answers.schema.ts';
import { callBatch } from './call-batch.ts';
import type { BatchState } from './contracts/batch.ts';
import { createBatch, isBatchId } from './create-batch.ts';
import { BATCHES_PATH, isUnknownThere, UpstreamBatches } from './upstream-batches.ts';

/** Makes the routes of message batches, the same as Anthropic's. Each batch belongs to the account that has made it. */
export function batchesRoutes(fetchUpstream?: Fetch) {
  return new Hono<AppEnv>()
    .post(BATCHES_PATH, requireScope('messages'), (c) => createBatch(c, fetchUpstream))
    .get(BATCHES_PATH, requireScope('messages'), async (c) => {
      const page = readPage(c.req.query());
      const list = await accountOf(c, c.get('identity').account)((account) => account.batches(page));
      return c.json({ ...list, data: list.data.map((batch) => withOwnUrl(c, batch)) });
    })
    .get(`${BATCHES_PATH}/:id`, requireScope('messages'), async (c) =>
      c.json(withOwnUrl(c, knownBatch(await callBatch(batchPlace(c), (batch) => batch.read())).batch)),
    )
    .delete(`${BATCHES_PATH}/:id`, requireScope('messages'), async (c) => {
      const place = batchPlace(c);
      const outcome = await callBatch(place, (batch) => batch.remove());
      if (outcome === 'none') throw noBatch();
      if (outcome === 'running') {
        throw finalError('invalid_request_error', 'This batch has not ended. Cancel it first.');
      }
      return c.json({ id: place.id, type: 'message_batch_deleted' });
    })
    .post(`${BATCHES_PATH}/:id/cancel`, requireScope('messages'), async (c) =>
      c.json(withOwnUrl(c, knownBatch(await callBatch(batchPlace(c), (batch) => batch.cancel())).batch)),
    )
    .get(`${BATCHES_PATH}/:id/results`, requireScope('messages'), (c) => results(c, fetchUpstream));
}

/** The error for a batch without results. A batch that never reached the upstream has none either. */
const NO_RESULTS = 'This batch has no results, or has not ended yet.';

/** Streams the results to the caller unchanged. */
async function results(c: Context<AppEnv>, fetchUpstream: Fetch | undefined): Promise<Response> {
  const { batch, upstream } = knownBatch(await callBatch(batchPlace(c), (object) => object.read()));
  if (batch.results_url === null || !upstream) throw notFound(NO_RESULTS);
  const settings = c.get('settings');
  const calls = new UpstreamBatches(upstreamOf(settings, fetchUpstream), settings, upstream);
  try {
    const answered = await calls.results(upstream.id, c.req.raw.signal);
    // Not the upstream's type: in a browser, what a model has written must never be a page of this edge.
    const { waitUntil } = contextOf(c);
    return carriedDown(answered, { 'content-type': 'application/x-jsonl' }, { entry: c.get('entry'), waitUntil });
  } catch (thrown) {
    if (isUnknownThere(thrown)) throw notFound(NO_RESULTS);
    throw tryAgain('The results could not be read. Try again.', 'batch_results', { cause: thrown });
  }
}

/** @throws ApiError 404 if it is not a batch of this caller */
function knownBatch(state: BatchState): Extract<BatchState, { kind: 'known' }> {
  if (state.kind !== 'known') throw noBatch();
  return state;
}

/** @returns a batch with the address of its results, as this caller reaches the edge. */
function withOwnUrl(c: Context<AppEnv>, batch: MessageBatch): MessageBatch {
  if (batch.results_url === null) return batch;
  const { origin, pathname } = new URL(c.req.url);
  const base = pathname.slice(0, pathname.lastIndexOf(BATCHES_PATH));
  return { ...batch, results_url: `${origin}${base}${BATCHES_PATH}/${batch.id}/results` };
}

function batchPlace(c: Context<AppEnv>) {
  const id = c.req.param('id') ?? '';
  if (!isBatchId(id)) throw noBatch();
  return { env: c.env, settings: c.get('settings'), account: c.get('identity').account, id };
}

function noBatch() {
  return notFound('There is no such batch.');
}
