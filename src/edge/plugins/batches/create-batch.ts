/**
 * Makes a batch. Its body is read as a stream: each item is checked, its cost is bounded, it is sent up, and forgotten. The
 * last bytes are sent only after the journal and the hold are stored. If something is refused before, the upload is aborted, and
 * no batch exists.
 */

import type { Context } from 'hono';
import { type AppEnv, getRequestContext, type RequestContext } from '../../auth/context.ts';
import { toUpstreamHeaders } from '../../claude/headers.ts';
import type { ModelTable } from '../../claude/models/models.ts';
import { type Nanodollars, toUsd } from '../../claude/pricing/cost.ts';
import { getUpstreamOfContext } from '../../claude/upstream.ts';
import { getModelTableOfUpstream } from '../../claude/upstreams/prices.ts';
import { validateDeliverUrl } from '../../kit/delivery/deliver-event.ts';
import { encodeUtf8, sha256Hex, toHex } from '../../kit/http/bytes.ts';
import {
  ApiError,
  createInvalidRequestError,
  createNonRetryableError,
  createRetryableError,
} from '../../kit/http/errors.ts';
import { createRequestId } from '../../kit/http/headers/request-id.ts';
import { requireJsonContentType } from '../../kit/http/read-json.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import type * as z from '../../kit/http/zod.ts';
import { raiseAlertOnKeyChange } from '../../money/admission/attempt-settlement.ts';
import {
  createAdmissionRequest,
  requireAdmittedDecision,
  requireCallerCanSend,
} from '../../money/admission/request-admission.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import { addToAccountList } from '../../money/lists/list-account.ts';
import { BatchBodyParser } from './batch-body.ts';
import { batchQuery, MOST_ITEMS } from './batches.schema.ts';
import type { batchEstimate } from './batches-answers.schema.ts';
import { callBatch } from './call-batch.ts';
import type { BatchAdmissionRequest, BatchDecision, BatchLabelTask, InitialBatchData } from './contracts/batch.ts';
import {
  createRejectionResponse,
  finishUploadAndReadOutcome,
  readRejection,
  toBatchResponse,
} from './create-answer.ts';
import { giveUpBatch } from './give-up-batch.ts';
import { BatchItemReader } from './item.ts';
import { streamLimitedBody } from './stream-body.ts';
import { BatchCostTotal } from './total.ts';
import { Upload, UploadRejectedEarlyError } from './upload.ts';
import { BATCHES_PATH, type BatchTarget, CLASSIFICATIONS_PATH, chooseBatchTarget } from './upstream-batches.ts';

/** The most bytes of an item. An item must be in memory as a whole before its end is known. */
const MOST_ITEM_BYTES = 16 * 1024 * 1024;
/** Bytes of memory for a batch of short items while it is made: pieces, ids, prices. */
const ROOM_BYTES = 6 * 1024 * 1024;
const DELIVER_URL = 'deliver_url';
/** The headers that later calls about a batch need. */
const KEPT_HEADERS = ['anthropic-version', 'anthropic-beta', 'user-agent'];

/** The most bytes that the API accepts. In a classification the prompt is repeated in each item. */
const MOST_WRITTEN_BYTES = 256 * 1024 * 1024;

/** The options that the edge sets instead of the caller, for a batch that is a classification. */
interface InternalClassificationBatch {
  /** A hash of the request for it. */
  digest: string;
  deliverUrl: string | undefined;
  labels: BatchLabelTask;
}

/** A request for a batch on its way. */
interface PendingBatchCreation {
  c: Context<AppEnv>;
  context: RequestContext;
  /** The caller's request, or the request that the edge has written for a classification. */
  request: Request;
  id: string;
  items: BatchItemReader;
  total: BatchCostTotal;
  upload: Upload;
  isDry: boolean;
  /** If it is a classification. */
  own: InternalClassificationBatch | undefined;
}

/**
 * Creates a batch from a request's body, or returns its maximum cost.
 *
 * @param own present if the edge has written that request itself
 * @throws ApiError for an invalid batch, for a limit that is reached, and for a rejection of the upstream
 */
export async function createBatch(
  c: Context<AppEnv>,
  request: Request,
  own?: InternalClassificationBatch,
): Promise<Response> {
  const context = getRequestContext(c);
  const { settings } = context;
  requireJsonContentType(request);
  const isDry = !own && validateBySchema(batchQuery, c.req.query()).dry_run === 'true';
  const upstream = getUpstreamOfContext(c);
  await requireCallerCanSend(context, 'price');
  c.get('bodyMemory').reserveBytes(ROOM_BYTES);
  const headers = toUpstreamHeaders(request.headers, upstream.apiKey, settings.FORWARD_HEADERS);
  headers['content-type'] = 'application/json';
  const simulate = upstream.isSimulated ? request.headers.get('sluice-simulate') : null;
  if (simulate !== null) headers['sluice-simulate'] = simulate;
  const query = createUpstreamQuery(request.url);
  const items = new BatchItemReader(c, request.headers, (requiredUpstream, model, boundResource) =>
    chooseBatchTarget(upstream, settings, { requiredUpstream, model, boundResource }),
  );
  const upload = new Upload((body, signal) =>
    requireBatchTarget(items).sendCreateRequest(query, headers, body, signal),
  );
  const total = new BatchCostTotal();
  const creation: PendingBatchCreation = { c, context, request, id: createBatchId(), items, total, upload, isDry, own };
  try {
    return await readBodyAndSendBatch(creation);
  } catch (thrown) {
    // Read the upstream's response first: aborting the upload also ends the response.
    const refused =
      thrown instanceof UploadRejectedEarlyError
        ? await readRejection(thrown.response, requireBatchTarget(items))
        : undefined;
    upload.abortUpload();
    if (!refused) throw thrown;
    return createRejectionResponse(refused, context);
  } finally {
    raiseAlertOnKeyChange(context, upstream);
  }
}

/** @returns where the batch goes. Call it after the first item has been read. */
function requireBatchTarget({ chosenTarget: target }: BatchItemReader): BatchTarget {
  if (!target) throw new TypeError('The batch has no items, so it has no upstream.');
  return target;
}

async function readBodyAndSendBatch(creation: PendingBatchCreation): Promise<Response> {
  const { c, context, request, items, total, upload, isDry, own } = creation;
  const mostBytes = own ? MOST_WRITTEN_BYTES : context.settings.MAX_BATCH_BYTES;
  const body = new BatchBodyParser(MOST_ITEM_BYTES);
  const digest = new crypto.DigestStream('SHA-256');
  const digestWriter = digest.getWriter();
  for await (const piece of streamLimitedBody(request, mostBytes)) {
    await digestWriter.write(piece);
    for (const bytes of body.splitPieceIntoItems(piece)) {
      if (body.itemCount >= MOST_ITEMS)
        throw createInvalidRequestError(
          `requests: List should have at most ${MOST_ITEMS} items. Split them into several batches.`,
        );
      c.get('bodyMemory').reserveBytes(ROOM_BYTES + bytes.length);
      const item = await items.parseAndBoundItem(bytes, body.itemCount);
      total.addItem(item, body.itemCount);
      if (!isDry) await upload.addItem(item.pieces);
    }
  }
  const { url, others } = extractDeliverUrl(body.finishParsing(), creation);
  await items.requireOwnedResources();
  await digestWriter.close();
  const order = await createBatchAdmissionRequest(creation, own?.digest ?? toHex(new Uint8Array(await digest.digest)));
  if (isDry) return Response.json(await estimateBatchCost(creation, order));
  await upload.sendAllButEnd();
  return await admitAndFinishBatch(creation, order, { url, others });
}

/** Removes this edge's own members from the members around the list. */
function extractDeliverUrl(others: Map<string, string>, { context, own: ours }: PendingBatchCreation) {
  if (ours) return { url: ours.deliverUrl, others };
  const text = others.get(DELIVER_URL);
  others.delete(DELIVER_URL);
  const items: unknown = text && JSON.parse(text);
  return { url: validateDeliverUrl(items ?? undefined, context.settings.BATCH_DELIVER_URL, context.settings), others };
}

async function createBatchAdmissionRequest(
  { context, request, id, total, isDry }: PendingBatchCreation,
  digest: string,
): Promise<BatchAdmissionRequest> {
  const { identity, requestId } = context;
  const key = request.headers.get('idempotency-key');
  const { token, dimensions, defaults, pools } = createAdmissionRequest({ ...context, route: 'batches', model: '' });
  return {
    batch: id,
    requestId,
    items: total.itemCount,
    rows: total.createModelCostRows(requestId),
    models: total.billableModels,
    known: total.known,
    digest,
    key: key === null ? undefined : await sha256Hex(encodeUtf8(`${identity.account}\n${key}`)),
    repeats: Number(request.headers.get('x-stainless-retry-count') ?? 0) > 0,
    dryRun: isDry,
    token,
    dimensions,
    defaults,
    pools,
  };
}

/** Requests the account's admission, and sends the last bytes if it admits the batch. */
async function admitAndFinishBatch(
  creation: PendingBatchCreation,
  order: BatchAdmissionRequest,
  { url, others }: { url: string | undefined; others: ReadonlyMap<string, string> },
): Promise<Response> {
  const { context, upload, items, id, total } = creation;
  const { settings } = context;
  const place = { env: creation.c.env, settings, account: context.identity.account, id };
  const opening = createInitialBatchData(creation, order, url);
  await callBatch(place, (batch) => batch.storeOpening(opening));
  let isHeld = true;
  let isClosing = false;
  try {
    const { decision, calls } = await requestBatchAdmission(context, order);
    isHeld = decision.outcome === 'admitted' || calls > 1;
    if (decision.outcome === 'attached') {
      upload.abortUpload();
      const first = { ...place, id: decision.batch };
      const state = await callBatch(first, (batch) => batch.readBatchState());
      const isSent = state.kind === 'refused' || (state.kind === 'known' && state.isSent);
      if (!isSent)
        throw createRetryableError(
          'The first request with this idempotency-key has not been sent yet. Repeat the request.',
          'batch_late',
        );
      return toBatchResponse(state, context);
    }
    if ('unlisted' in decision && decision.unlisted) context.waitUntil(addToAccountList(context));
    if (decision.outcome !== 'admitted') throw createBatchRejectionError(decision, total, settings.models);
    isClosing = await callBatch(place, (batch) => batch.recordLastByteSent());
    if (!isClosing) throw createRetryableError('The batch could not be sent. Send it again.', 'batch_late');
  } finally {
    if (!isClosing) context.waitUntil(giveUpBatch({ place, request: context, opening, isHeld }));
  }
  // From here on, the upstream may create the batch even if the object crashes. The journal has stored this phase, so the
  // request is not sent again.
  const sending = finishUploadAndReadOutcome(
    upload,
    requireBatchTarget(items),
    others,
    settings.UPSTREAM_TIMEOUT_MS,
  ).then((answer) => callBatch(place, (batch) => batch.acceptCreateResponse(answer), 'persistent'));
  context.waitUntil(sending);
  return toBatchResponse(await sending, context);
}

/** @returns the account's decision, and how often the account was called: an earlier call may still arrive and place a hold */
async function requestBatchAdmission(
  context: RequestContext,
  order: BatchAdmissionRequest,
): Promise<{ decision: BatchDecision; calls: number }> {
  const text = JSON.stringify(order);
  let calls = 0;
  const answer = await callAccount(context, (account) => {
    calls += 1;
    return account.admitBatchJson(text);
  });
  return { decision: JSON.parse(answer) as BatchDecision, calls };
}

function createInitialBatchData(
  { context, request, id, items: reader, total, own }: PendingBatchCreation,
  { rows }: BatchAdmissionRequest,
  url: string | undefined,
): InitialBatchData {
  const headers: Record<string, string> = {};
  for (const name of KEPT_HEADERS) {
    const value = request.headers.get(name);
    if (value !== null) headers[name] = value;
  }
  const { origin, pathname } = new URL(request.url);
  const upstream = reader.chosenTarget?.name;
  const models = getModelTableOfUpstream(context.settings, upstream);
  return {
    id,
    account: context.identity.account,
    base: origin + pathname.slice(0, pathname.lastIndexOf(BATCHES_PATH)) + (own ? CLASSIFICATIONS_PATH : BATCHES_PATH),
    rows: rows.map(({ requestId, model, cost, items }) => ({ requestId, model, hold: cost, items })),
    prices: Object.fromEntries(rows.map(({ model }) => [model, models.findPriceRow(model).row.prices])),
    cacheTtl: total.cachesLong ? '1h' : '5m',
    makesThings: total.makesThings,
    upstream,
    headers,
    deliverUrl: url,
    labels: own && JSON.stringify(own.labels),
  };
}

async function estimateBatchCost(
  { context, total }: PendingBatchCreation,
  order: BatchAdmissionRequest,
): Promise<z.output<typeof batchEstimate>> {
  const { decision } = await requestBatchAdmission(context, order);
  if (decision.outcome === 'attached') throw new TypeError('A dry run was attached to a batch.');
  const cost_usd = toUsd(order.rows.reduce((sum, { cost }) => sum + cost, 0));
  const answer = { type: 'message_batch_estimate', requests: order.items, cost_usd } as const;
  if (decision.outcome === 'admitted') return { ...answer, fits: true, fitting: order.items };
  if (decision.outcome !== 'refused') throw createBatchRejectionError(decision, total, context.settings.models);
  return { ...answer, fits: false, fitting: total.countAffordableItems(getRemainingBudget(decision) ?? -1) };
}

/** @returns the error for a batch that the account does not admit. It contains how many of its items would be admitted. */
function createBatchRejectionError(
  decision: Exclude<BatchDecision, { outcome: 'attached' }>,
  total: BatchCostTotal,
  models: ModelTable,
): unknown {
  if (decision.outcome === 'mismatched') {
    const message = 'This idempotency-key was already used for another batch. Use a new key for a new batch.';
    return createNonRetryableError('invalid_request_error', message);
  }
  try {
    return requireAdmittedDecision(decision, models);
  } catch (thrown) {
    const left = getRemainingBudget(decision);
    if (!(thrown instanceof ApiError) || left === undefined) return thrown;
    const message = `${thrown.message} The first ${total.countAffordableItems(left)} of its ${total.itemCount} items fit into the budget.`;
    return new ApiError(thrown.type, message, thrown);
  }
}

function getRemainingBudget(decision: BatchDecision): Nanodollars | undefined {
  if (decision.outcome !== 'refused') return undefined;
  const { reason, left, late } = decision.refusal;
  return (reason === 'spend' || reason === 'held') && !late ? left : undefined;
}

/** @returns the query to send upstream, without this edge's own parameter. */
function createUpstreamQuery(url: string): string {
  const { searchParams } = new URL(url);
  searchParams.delete('dry_run');
  const query = searchParams.toString();
  return query === '' ? '' : `?${query}`;
}

/** @returns an id that sorts by time, like the ids of requests. */
function createBatchId(): string {
  return createRequestId().replace('req_', 'msgbatch_');
}

/** @returns whether a text can be the id of a batch of this edge. */
export function isBatchId(id: string): boolean {
  return /^msgbatch_[0-9a-hjkmnp-tv-z]{26}$/.test(id);
}
