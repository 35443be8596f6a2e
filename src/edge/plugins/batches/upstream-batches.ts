/** Calls the batches of an upstream. Every call except the create may be repeated. */

import { readBufferedResponse } from '../../claude/buffered-response.ts';
import type { ClassifiedResponse } from '../../claude/classify-failure.ts';
import { type AnsweredExchange, type ExchangeOptions, UpstreamExchange } from '../../claude/exchange.ts';
import { getRequestEndOfError } from '../../claude/failure.ts';
import { type PlainHeaders, toUpstreamHeaders } from '../../claude/headers.ts';
import type { ModelTable } from '../../claude/models/models.ts';
import { toValidCountOrZero } from '../../claude/pricing/cost.ts';
import type { Upstream } from '../../claude/upstream.ts';
import { chooseUpstreamForNewResource } from '../../claude/upstreams/choose-upstream.ts';
import { findUpstreams, type UpstreamRoutingInput } from '../../claude/upstreams/pool.ts';
import { getModelTableOfUpstream } from '../../claude/upstreams/prices.ts';
import type { Settings } from '../../config/settings.ts';
import { isObject, type JsonObject, toJsonText } from '../../kit/json/object.ts';
import type { UpstreamBatchLocation } from './contracts/batch.ts';

export const BATCHES_PATH = '/v1/messages/batches';
/** Where the results of a classification are read as labels. */
export const CLASSIFICATIONS_PATH = '/classifications';
/** Milliseconds in which an answer about one batch must come, and results must begin. */
const BATCH_CALL_MS = 60_000;
/** The most rows of a page of the API. */
const LIST_LIMIT = 1_000;
/** A create follows no redirect: its body cannot be sent again. */
const CREATE = { method: 'POST', redirect: 'manual' } as const;
/** How many pages of a list are read to find a batch that was made minutes ago. */
const MOST_LIST_PAGES = 10;

/** The upstream of a new batch. */
export interface BatchTarget {
  /** Its name, if there are several. */
  name: string | undefined;
  models: ModelTable;
  /** @returns the id by which a model is called there; undefined if it is not served there. */
  getUpstreamModelId(model: string): string | undefined;
  /** Sends a create, whose body is still being written. It is never sent again. */
  sendCreateRequest(query: string, headers: PlainHeaders, body: ReadableStream, signal: AbortSignal): Promise<Response>;
  /** Records its response to a create request. */
  recordCreateVerdict(judged: ClassifiedResponse): void;
}

/**
 * Chooses the upstream of a new batch.
 *
 * @param first `only`: the name of the upstream that has the resources which the first item names. Without it: the first
 *   upstream that accepts batches, serves the `model` of that item, and may have the resource that its prefix names (`owned`)
 * @throws NoUpstreamError 400 if no upstream accepts it; 404 for a model that no upstream serves
 */
export function chooseBatchTarget(
  upstream: Upstream,
  settings: Settings,
  {
    requiredUpstream,
    model,
    boundResource,
  }: Pick<UpstreamRoutingInput, 'requiredUpstream' | 'boundResource'> & { model: string },
): BatchTarget {
  const { pool } = upstream;
  const call = { method: 'POST', path: BATCHES_PATH, headers: {} };
  if (!pool) {
    return {
      name: undefined,
      models: settings.models,
      getUpstreamModelId: (model) => model,
      sendCreateRequest: (query, headers, body, signal) =>
        upstream.fetch(upstream.baseURL + BATCHES_PATH + query, { ...CREATE, headers, body, signal }),
      recordCreateVerdict: (judged) => upstream.key?.recordAnswerOrRejection(judged, Date.now()),
    };
  }
  const place =
    requiredUpstream ??
    (boundResource === undefined ? chooseUpstreamForNewResource(pool, 'batches', model) : undefined);
  const [one] = findUpstreams(pool, call, { streams: false, model, requiredUpstream: place, boundResource });
  if (!one) throw new TypeError('no upstream');
  const breaker = pool.health.getBreaker(one.name, '');
  let leave = breaker.forcePermit();
  return {
    name: one.name,
    models: getModelTableOfUpstream(settings, one.name),
    getUpstreamModelId: (model) => one.idOf(model),
    sendCreateRequest: async (query, headers, body, signal) => {
      const { 'x-api-key': _, ...plain } = headers;
      const request = { method: 'POST', path: BATCHES_PATH + query, headers: plain, body: () => body };
      const adapted = await one.prepare(request, { signal, waitUntil: () => {} });
      leave = breaker.acquirePermit(Date.now()) ?? leave;
      return await pool.fetchOf(one)(adapted.url, { ...CREATE, headers: adapted.headers, body, signal });
    },
    recordCreateVerdict: (judged) => {
      pool.health.getKeyHealth(one.name).recordAnswerOrRejection(judged, Date.now());
      // A rejection opens the breaker of this upstream, so that the next batch is sent to another upstream, if there is one.
      if (judged.kind === 'refused') breaker.recordFailure(leave, Date.now(), judged.waitMs);
      else breaker.recordSuccess(leave, Date.now());
    },
  };
}

/** The needed parts of a batch, as the upstream describes it. */
export interface UpstreamBatchFields {
  id: string;
  status: string;
  createdAt: number;
  expiresAt: string;
  items: number;
}

/** Thrown if the upstream refuses a call, or something else has answered. Logs contain its name. */
export class BatchCallFailedError extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`The upstream responded with ${status} to a call about a batch.`);
    this.name = `BatchCallFailedError ${status}`;
    this.status = status;
  }
}

/** Calls the upstream about its batches. */
export class UpstreamBatchesClient {
  readonly #upstream: Upstream;
  readonly #settings: Settings;
  readonly #where: Pick<UpstreamBatchLocation, 'name' | 'headers'>;

  /** @param where the upstream, and the headers */
  constructor(upstream: Upstream, settings: Settings, where: Pick<UpstreamBatchLocation, 'name' | 'headers'>) {
    this.#upstream = upstream;
    this.#settings = settings;
    this.#where = where;
  }

  /** @returns the state of a batch. @throws BatchCallFailedError, UpstreamFailure */
  async retrieveBatch(id: string): Promise<UpstreamBatchFields> {
    return parseRow(await this.#callForJson('GET', `/${encodeURIComponent(id)}`));
  }

  /** Cancels a batch. @returns its state after that */
  async cancelBatch(id: string): Promise<UpstreamBatchFields> {
    return parseRow(await this.#callForJson('POST', `/${encodeURIComponent(id)}/cancel`));
  }

  /** Deletes an ended batch. If it is gone already, that is not an error. */
  async deleteBatch(id: string): Promise<void> {
    try {
      await this.#callForJson('DELETE', `/${encodeURIComponent(id)}`);
    } catch (thrown) {
      if (!isBatchUnknownError(thrown)) throw thrown;
    }
  }

  /**
   * @returns the batches that were made since a time (milliseconds since 1970), newest first. `isWhole` is false if there are
   *   more than were read
   * @throws BatchCallFailedError, UpstreamFailure
   */
  async listBatchesSince(time: number): Promise<{ rows: UpstreamBatchFields[]; isWhole: boolean }> {
    const rows: UpstreamBatchFields[] = [];
    let after = '';
    for (let page = 0; page < MOST_LIST_PAGES; page += 1) {
      const list = await this.#callForJson('GET', `?limit=${LIST_LIMIT}${after}`);
      if (!Array.isArray(list.data)) throw new BatchCallFailedError(200);
      const data = list.data.map(parseRow);
      rows.push(...data.filter(({ createdAt }) => createdAt >= time));
      const last = data.at(-1);
      if (list.has_more !== true || (last && last.createdAt < time)) return { rows, isWhole: true };
      if (!last) break;
      after = `&after_id=${encodeURIComponent(last.id)}`;
    }
    return { rows, isWhole: false };
  }

  /**
   * Requests the results of a batch.
   *
   * @param signal aborted when they are not needed any more
   * @throws BatchCallFailedError, UpstreamFailure
   */
  async requestResults(id: string, signal?: AbortSignal): Promise<AnsweredExchange> {
    const exchange = this.#createExchange({ signal });
    try {
      const response = await this.#sendToUpstream(exchange, 'GET', `/${encodeURIComponent(id)}/results`);
      if (response.ok) return { response, exchange };
      await response.body?.cancel();
      throw new BatchCallFailedError(response.status);
    } catch (thrown) {
      exchange.closeExchange(getRequestEndOfError(thrown));
      throw thrown;
    }
  }

  async #callForJson(method: string, rest: string): Promise<JsonObject> {
    // Limit the time of the whole exchange, so that a response body that stalls cannot stall the batch.
    const exchange = this.#createExchange({ wholeMs: 2 * BATCH_CALL_MS });
    try {
      const response = await this.#sendToUpstream(exchange, method, rest);
      const { json } = await readBufferedResponse(response, exchange, 'anything');
      if (response.ok && json) return json;
      throw new BatchCallFailedError(response.status);
    } finally {
      exchange.closeExchange();
    }
  }

  #createExchange(more: Pick<ExchangeOptions, 'signal' | 'wholeMs'>): UpstreamExchange {
    return new UpstreamExchange({
      upstream: this.#upstream,
      settings: this.#settings,
      timeoutMs: BATCH_CALL_MS,
      ...more,
    });
  }

  async #sendToUpstream(exchange: UpstreamExchange, method: string, rest: string): Promise<Response> {
    const { name, headers } = this.#where;
    const up = toUpstreamHeaders(new Headers(headers), this.#upstream.apiKey, this.#settings.FORWARD_HEADERS);
    const routing = { streams: false, isQuick: true, ...(name === undefined ? {} : { requiredUpstream: name }) };
    return await exchange.sendToUpstream(
      { method, path: BATCHES_PATH + rest, headers: up, routing },
      { payment: 'free' },
    );
  }
}

/** Parses a row of the upstream. @throws BatchCallFailedError if it is not a batch */
function parseRow(value: unknown): UpstreamBatchFields {
  if (!isObject(value) || typeof value.id !== 'string' || typeof value.created_at !== 'string') {
    throw new BatchCallFailedError(200);
  }
  const counts = isObject(value.request_counts) ? Object.values(value.request_counts) : [];
  return {
    id: value.id,
    status: toJsonText(value.processing_status),
    createdAt: Date.parse(value.created_at),
    expiresAt: typeof value.expires_at === 'string' ? value.expires_at : '',
    items: counts.reduce<number>((sum, count) => sum + toValidCountOrZero(count), 0),
  };
}

/** @returns whether the upstream does not know a batch, or is no longer configured. */
export function isBatchUnknownError(thrown: unknown): boolean {
  return (thrown as { status?: unknown }).status === 404;
}
