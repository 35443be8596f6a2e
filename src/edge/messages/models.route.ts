import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../auth/context.ts';
import { defineRoute } from '../auth/route.ts';
import { isEventStream } from '../claude/content-type.ts';
import { createNotApiResponseError } from '../claude/failure.ts';
import { isForwardedHeader } from '../claude/headers.ts';
import { createModelHint } from '../claude/models/model-hint.ts';
import { getModelLifecycle, type Model } from '../claude/models/models.ts';
import { canUseModel, filterAllowedModels } from '../claude/pricing/allowed-models.ts';
import { getQueryString, relayRequest } from '../claude/relay.ts';
import { getUpstreamOfContext, type Upstream } from '../claude/upstream.ts';
import type { UpstreamPool } from '../claude/upstreams/pool.ts';
import type { Settings } from '../config/settings.ts';
import { getOrCreate } from '../kit/cache/get-or-create.ts';
import { createLruCache, type LruCache } from '../kit/cache/lru.ts';
import { createNotFoundError, toApiError } from '../kit/http/errors.ts';
import { paginateRowsInMemory, parsePageQuery } from '../kit/http/page.ts';
import { isObject } from '../kit/json/object.ts';
import { admitRequestWithoutCost } from '../money/admission/admit-free.ts';
import { callAccount } from '../money/contracts/call-account.ts';
import {
  addAliasRows,
  describeModelPrices,
  findServedModelByName,
  findServingUpstreams,
  isModelRow,
  listServedModels,
  type ModelListRow,
  parseModelRows,
  UNKNOWN_DAY,
} from './served-models.ts';

const MODEL_NAME = /^(?![./])(?!.*\.\.)[\w.:@/-]+$/;
const LIST_PATH = '/v1/models';
/** Statuses of gateways that do not have the list. */
const NO_LIST_STATUSES: ReadonlySet<number> = new Set([404, 405, 501]);
/** The same for what cannot be relayed: a web page, a redirect to one, nothing at all. A rejected key is none of these. */
const UNUSABLE_LIST_STATUSES = /^upstream_(?:no_answer|no_headers|redirect|silent|timeout|cut|unreachable(?:: .*)?)$/s;
/** Milliseconds to wait for the list, in whose place there is a table, and for one model. An upstream that has them is quick. */
const LIST_TIMEOUT_MS = 2_000;
const MODEL_TIMEOUT_MS = 5_000;
/**
 * Milliseconds for which a list is remembered, and how many are: they differ by the query, and by headers. But for those of
 * FORWARD_HEADERS no others are sent, since one caller's list is that of the others.
 */
const LIST_CACHE_MS = 300_000;
const MAX_CACHED_LISTS = 20;
const VARY_HEADERS = ['anthropic-version', 'anthropic-beta', 'sluice-simulate'];
const listCache = new WeakMap<Upstream, LruCache<string, { createReferenceResponse(): Response; until: number }>>();

/** Operators read the list for the names and prices of the models in their figures, and no token needs it to send requests. */
const MODEL_SCOPES = ['messages', 'admin:read'] as const;

/**
 * The routes that list the upstream's models, with the limits and prices that this edge knows. Only allowed models are
 * listed.
 */
export const MODEL_ROUTES = [
  defineRoute('GET /v1/models', { needs: MODEL_SCOPES, common: true, pages: true }, respondWithModelList),
  defineRoute('GET /models', { needs: MODEL_SCOPES, common: true, pages: true }, respondWithModelList),
  defineRoute('GET /v1/models/:id', { needs: MODEL_SCOPES, common: true }, respondWithModel),
  defineRoute('GET /models/:id', { needs: MODEL_SCOPES, common: true }, respondWithModel),
];

async function respondWithModelList(c: Context<AppEnv>): Promise<Response> {
  const allowed = await getAllowedModels(c);
  const { pool } = getUpstreamOfContext(c);
  const settings = c.get('settings');
  if (!allowed && !pool && Object.keys(settings.MODEL_ALIASES).length === 0)
    return await respondWithUpstreamModels(c, LIST_PATH);
  const page = parsePageQuery(c.req.query());
  // A page of the upstream's list could contain none of the allowed models, and the upstream does not know aliases. So fetch
  // all rows and paginate here.
  const all = pool
    ? await respondWithPooledModels(c, pool)
    : await respondWithUpstreamModels(c, LIST_PATH, createFullListRequest(c.req.raw));
  if (!all.ok) return all;
  const rows = addAliasRows(parseModelRows(await all.json()), settings);
  const usable = allowed ? filterAllowedModels(rows, allowed, settings.models) : rows;
  return Response.json(
    paginateRowsInMemory(usable, page, ({ id }) => id),
    { headers: all.headers },
  );
}

async function respondWithModel(c: Context<AppEnv>): Promise<Response> {
  const settings = c.get('settings');
  const { models } = settings;
  const name = c.req.param('id') ?? '';
  // Some proxies decode escaped characters in a path, so a name with such characters could reach another path of the upstream.
  // Reject it.
  if (!MODEL_NAME.test(name)) throw createUnknownModelError();
  const allowed = await getAllowedModels(c);
  if (allowed && !canUseModel(name, allowed, models)) {
    const hint = createModelHint(models.resolveAlias(name), models);
    const sentences = [`This account cannot use ${name.slice(0, 128)}.`, ...(hint === undefined ? [] : [hint])];
    throw createNotFoundError(`${sentences.join(' ')} GET /models lists the models that it can use.`);
  }
  const { pool } = getUpstreamOfContext(c);
  if (!pool) return await respondWithUpstreamModels(c, `${LIST_PATH}/${encodeURIComponent(models.resolveAlias(name))}`);
  const quota = await admitRequestWithoutCost(c);
  const row = findServedModelByName(pool, name, settings);
  if (!row) throw createUnknownModelError(createModelHint(models.resolveAlias(name), models));
  return Response.json(completeModelRowFromTable(row, settings, pool), { headers: quota });
}

function createUnknownModelError(hint = 'This model does not exist.') {
  return createNotFoundError(`${hint} GET /models lists the available models.`);
}

/** @returns the account's limit `models`; undefined if it may use any model. */
async function getAllowedModels(c: Context<AppEnv>): Promise<readonly string[] | undefined> {
  const { settings } = c.var;
  const { limits } = await callAccount(getRequestContext(c), (account) =>
    account.getQuotaReport(settings.DEFAULT_LIMITS),
  );
  return limits.models;
}

/** @returns a request for one page with all rows. */
function createFullListRequest(caller: Request): Request {
  const query = new URLSearchParams(getQueryString(caller.url));
  for (const cursor of ['after_id', 'before_id']) query.delete(cursor);
  query.set('limit', '1000');
  return new Request(`${caller.url.split('?', 1)[0]}?${query}`, caller);
}

async function respondWithUpstreamModels(
  c: Context<AppEnv>,
  path: string,
  caller: Request = c.req.raw,
): Promise<Response> {
  const { settings } = c.var;
  const quota = await admitRequestWithoutCost(c);
  const response = path === LIST_PATH ? await relayUpstreamList(c, caller) : await relayModelsRequest(c, path, caller);
  if (!response) return createModelTableResponse(caller, settings, quota);
  for (const [name, value] of Object.entries(quota)) response.headers.set(name, value);
  if (!response.ok) return response;
  const body: unknown = await response.json();
  if (path !== LIST_PATH) return Response.json(completeIfModelRow(body, settings), { headers: response.headers });
  // Gateways for several APIs return the list in another form, so respond with the built-in table of models instead.
  if (!isObject(body) || !Array.isArray(body.data)) return createModelTableResponse(caller, settings, quota);
  const data = body.data.map((row) => completeIfModelRow(row, settings));
  const page = {
    has_more: false,
    first_id: getModelRowId(data[0]),
    last_id: getModelRowId(data.at(-1)),
    ...body,
    data,
  };
  return Response.json(page, { headers: response.headers });
}

/** @throws ApiError for a stream, which is not an answer to this question. It is cancelled */
async function relayModelsRequest(c: Context<AppEnv>, path: string, caller: Request): Promise<Response> {
  const { settings: all, requestId, waitUntil } = getRequestContext(c);
  const { UPSTREAM_TIMEOUT_MS, STREAM_IDLE_MS } = all;
  const mostMs = path === LIST_PATH ? LIST_TIMEOUT_MS : MODEL_TIMEOUT_MS;
  const settings = {
    ...all,
    UPSTREAM_TIMEOUT_MS: Math.min(UPSTREAM_TIMEOUT_MS, mostMs),
    STREAM_IDLE_MS: Math.min(STREAM_IDLE_MS, mostMs),
  };
  const routing = { streams: false, isQuick: true };
  const upstream = getUpstreamOfContext(c);
  const response = await relayRequest({ path, caller, routing }, { upstream, settings, requestId, waitUntil });
  if (!isEventStream(response)) return response;
  // Cancel the body to release the connection. Cancelling a body that has already failed rejects, which can be ignored.
  response.body?.cancel().catch(() => undefined);
  throw createNotApiResponseError();
}

/** @returns the upstream's list, for some minutes the same, or what it answers instead. @throws ApiError as `relayModelsRequest` */
async function getCachedUpstreamList(c: Context<AppEnv>, caller: Request): Promise<Response> {
  const settings = c.get('settings');
  const upstream = getUpstreamOfContext(c);
  const lists = getOrCreate(listCache, upstream, () => createLruCache(MAX_CACHED_LISTS));
  const goUp = [...caller.headers].filter(([name]) =>
    isForwardedHeader(name, [...VARY_HEADERS, ...settings.FORWARD_HEADERS]),
  );
  const key = JSON.stringify([getQueryString(caller.url), goUp]);
  const earlier = lists.get(key);
  if (earlier && Date.now() < earlier.until) return earlier.createReferenceResponse();
  const response = await relayModelsRequest(c, LIST_PATH, new Request(caller, { headers: goUp }));
  if (!response.ok) return response;
  const text = await response.text();
  const { 'request-id': _, ...headers } = Object.fromEntries(response.headers);
  lists.set(key, { createReferenceResponse: () => new Response(text, { headers }), until: Date.now() + LIST_CACHE_MS });
  return new Response(text, response);
}

/**
 * @returns the upstream's list; undefined if it has none, is down, or does not send it in time, which is logged
 * @throws ApiError if the upstream rejects the key, so that a dead key is not mistaken for a working one
 */
async function relayUpstreamList(c: Context<AppEnv>, caller: Request): Promise<Response | undefined> {
  const { line } = c.get('entry');
  try {
    const response = await getCachedUpstreamList(c, caller);
    const { status } = response;
    if (status < 500 && !NO_LIST_STATUSES.has(status)) return response;
    if (!NO_LIST_STATUSES.has(status)) line.error_type = `upstream_${status}`;
    response.body?.cancel().catch(() => undefined);
  } catch (thrown) {
    const { logged } = toApiError(thrown);
    if (!UNUSABLE_LIST_STATUSES.test(logged)) throw thrown;
    line.error_type = logged;
  }
  return undefined;
}

function getModelRowId(row: unknown): string | null {
  return isModelRow(row) ? row.id : null;
}

/** @returns the models of this edge's own table, for a gateway without a list, which may serve any of them. */
function createModelTableResponse(caller: Request, settings: Settings, quota: Record<string, string>): Response {
  const everywhere = { all: [{ idOf: (model: string) => model }] };
  const rows = listServedModels(everywhere, [], settings, Date.now()).map((row) =>
    completeModelRowFromTable(row, settings),
  );
  const page = paginateRowsInMemory(
    rows,
    parsePageQuery(Object.fromEntries(new URL(caller.url).searchParams)),
    ({ id }) => id,
  );
  return Response.json(page, { headers: quota });
}

/** @returns all models of several upstreams: those in the list of one of them, and those in this edge's table. */
async function respondWithPooledModels(c: Context<AppEnv>, pool: UpstreamPool): Promise<Response> {
  const { settings } = getRequestContext(c);
  const request = { method: 'GET', path: LIST_PATH, headers: {} };
  const lists = pool.all.filter((one) => one.findUnsupportedFeature(request) === undefined).length;
  const quota = await admitRequestWithoutCost(c);
  const listed = lists > 0 ? await fetchFirstUpstreamList(c, lists === pool.all.length) : undefined;
  const headers = listed?.headers ?? new Headers();
  for (const [name, value] of Object.entries(quota)) headers.set(name, value);
  const rows = listServedModels(pool, listed?.rows ?? [], settings, Date.now());
  return Response.json({ data: rows.map((row) => completeModelRowFromTable(row, settings, pool)) }, { headers });
}

/**
 * @param areAll whether there is no other upstream, whose key may be good
 * @returns the list of an upstream that has one; undefined while none of them responds, which is logged
 * @throws ApiError where all of them reject their keys
 */
async function fetchFirstUpstreamList(
  c: Context<AppEnv>,
  areAll: boolean,
): Promise<{ headers: Headers; rows: ModelListRow[] } | undefined> {
  const { line } = c.get('entry');
  try {
    const listed = await getCachedUpstreamList(c, createFullListRequest(c.req.raw));
    if (listed.ok) return { headers: listed.headers, rows: parseModelRows(await listed.json()) };
    line.error_type = `upstream_${listed.status}`;
  } catch (thrown) {
    line.error_type = toApiError(thrown).logged;
    if (areAll && line.error_type === 'upstream_auth') throw thrown;
  }
  return undefined;
}

function completeIfModelRow(row: unknown, settings: Settings): unknown {
  return isModelRow(row) ? completeModelRowFromTable(row, settings) : row;
}

/**
 * @returns a row, completed from the model table. The API's own figures win, and the table fills in absent ones. If there are
 *   several upstreams, the price is the one at the upstream that is tried first
 */
function completeModelRowFromTable(row: ModelListRow, settings: Settings, pool?: UpstreamPool): ModelListRow {
  const model: Model | undefined = settings.models.findRow(row.id);
  const places = pool && findServingUpstreams(pool, row.id, settings);
  return {
    type: 'model',
    display_name: model?.display_name ?? row.id,
    created_at: UNKNOWN_DAY,
    ...row,
    max_input_tokens: row.max_input_tokens ?? model?.max_input_tokens ?? null,
    max_tokens: row.max_tokens ?? model?.max_tokens ?? null,
    lifecycle: row.lifecycle ?? (model ? getModelLifecycle(model) : null),
    retires_at: row.retires_at ?? model?.retires_at ?? null,
    line: row.line ?? model?.line ?? null,
    thinking: model?.thinking ?? null,
    efforts: model?.efforts ?? [],
    default_effort: model?.default_effort ?? null,
    fast_until: model?.fast_until ?? null,
    minimum_cacheable_tokens: model?.minimum_cacheable_tokens ?? null,
    replacement: model?.replacement ?? null,
    prices: places?.[0]?.prices ?? describeModelPrices(model),
    ...(places && { upstreams: places }),
  };
}
