import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../auth/context.ts';
import { route } from '../auth/route.ts';
import { isEventStream } from '../claude/content-type.ts';
import { notApiError } from '../claude/failure.ts';
import { isForwarded } from '../claude/headers.ts';
import { createModelHint } from '../claude/models/model-hint.ts';
import { lifecycleOf, type Model } from '../claude/models/models.ts';
import { canUseModel, filterUsableModels } from '../claude/pricing/allowed-models.ts';
import { queryOf, relay } from '../claude/relay.ts';
import { type Upstream, upstreamFor } from '../claude/upstream.ts';
import type { UpstreamPool } from '../claude/upstreams/pool.ts';
import type { Settings } from '../config/settings.ts';
import { getOrCreate } from '../kit/cache/get-or-create.ts';
import { LruCache } from '../kit/cache/lru.ts';
import { notFound, toApiError } from '../kit/http/errors.ts';
import { paginateRows, readPage } from '../kit/http/page.ts';
import { isObject } from '../kit/json/object.ts';
import { admitFree } from '../money/admission/admit-free.ts';
import { callAccount } from '../money/contracts/call-account.ts';
import {
  addAliases,
  findServedModel,
  findServingUpstreams,
  isModelRow,
  listServedModels,
  type ModelRow,
  parseModelRows,
  toPublicPrices,
  UNKNOWN_DAY,
} from './served-models.ts';

const MODEL_NAME = /^(?![./])(?!.*\.\.)[\w.:@/-]+$/;
const LIST_PATH = '/v1/models';
/** Statuses of gateways that do not have the list. */
const NO_LIST_STATUSES: ReadonlySet<number> = new Set([404, 405, 501]);
/** The same for what cannot be relayed: a web page, a redirect to one, nothing at all. A refused key is none of these. */
const UNUSABLE_LIST_STATUSES = /^upstream_(?:no_answer|redirect|silent|timeout|cut|unreachable(?:: .*)?)$/s;
/** Milliseconds to wait for the list, in whose place there is a table, and for one model. An upstream that has them is quick. */
const LIST_TIMEOUT_MS = 2_000;
const MODEL_TIMEOUT_MS = 5_000;
/**
 * Milliseconds for which a list is remembered, and how many are: they differ by the query, and by headers. But for those of
 * FORWARD_HEADERS no others go up, since one caller's list is that of the others.
 */
const LIST_CACHE_MS = 300_000;
const MAX_CACHED_LISTS = 20;
const VARY_HEADERS = ['anthropic-version', 'anthropic-beta', 'sluice-simulate'];
const listCache = new WeakMap<Upstream, LruCache<string, { createResponse(): Response; until: number }>>();

/**
 * The routes that list the upstream's models, with the limits and prices that this edge knows. Only allowed models are
 * listed.
 */
export const MODEL_ROUTES = [
  route('GET /v1/models', { needs: 'messages', common: true, pages: true }, listModels),
  route('GET /models', { needs: 'messages', common: true, pages: true }, listModels),
  route('GET /v1/models/:id', { needs: 'messages', common: true }, readModel),
  route('GET /models/:id', { needs: 'messages', common: true }, readModel),
];

async function listModels(c: Context<AppEnv>): Promise<Response> {
  const allowed = await getAllowedModels(c);
  const { pool } = upstreamFor(c);
  const settings = c.get('settings');
  if (!allowed && !pool && Object.keys(settings.MODEL_ALIASES).length === 0)
    return await respondWithModels(c, LIST_PATH);
  const page = readPage(c.req.query());
  // A page of the upstream could have none of the allowed models, and it knows no aliases. So all are fetched, and paged here.
  const all = pool
    ? await respondWithPooledModels(c, pool)
    : await respondWithModels(c, LIST_PATH, toFullListRequest(c.req.raw));
  if (!all.ok) return all;
  const rows = addAliases(parseModelRows(await all.json()), settings);
  const usable = allowed ? filterUsableModels(rows, allowed, settings.models) : rows;
  return Response.json(
    paginateRows(usable, page, ({ id }) => id),
    { headers: all.headers },
  );
}

async function readModel(c: Context<AppEnv>): Promise<Response> {
  const settings = c.get('settings');
  const { models } = settings;
  const name = c.req.param('id') ?? '';
  // Such a name could reach another path of the upstream, if a proxy before it decodes the escaped characters.
  if (!MODEL_NAME.test(name)) throw unknownModelError();
  const allowed = await getAllowedModels(c);
  if (allowed && !canUseModel(name, allowed, models)) {
    const hint = createModelHint(models.resolve(name), models);
    const sentences = [`This account may not use ${name.slice(0, 128)}.`, ...(hint === undefined ? [] : [hint])];
    throw notFound(`${sentences.join(' ')} GET /models lists the models that it may.`);
  }
  const { pool } = upstreamFor(c);
  if (!pool) return await respondWithModels(c, `${LIST_PATH}/${encodeURIComponent(models.resolve(name))}`);
  const quota = await admitFree(c);
  const row = findServedModel(pool, name, settings);
  if (!row) throw unknownModelError(createModelHint(models.resolve(name), models));
  return Response.json(completeRow(row, settings, pool), { headers: quota });
}

function unknownModelError(hint = 'There is no such model.') {
  return notFound(`${hint} GET /models lists those that there are.`);
}

/** @returns the account's limit `models`; undefined if it may use any model. */
async function getAllowedModels(c: Context<AppEnv>): Promise<readonly string[] | undefined> {
  const { settings } = c.var;
  const { limits } = await callAccount(contextOf(c), (account) => account.quota(settings.DEFAULT_LIMITS));
  return limits.models;
}

/** @returns a request for one page with all rows. */
function toFullListRequest(caller: Request): Request {
  const query = new URLSearchParams(queryOf(caller.url));
  for (const cursor of ['after_id', 'before_id']) query.delete(cursor);
  query.set('limit', '1000');
  return new Request(`${caller.url.split('?', 1)[0]}?${query}`, caller);
}

async function respondWithModels(c: Context<AppEnv>, path: string, caller: Request = c.req.raw): Promise<Response> {
  const { settings } = c.var;
  const quota = await admitFree(c);
  const response = path === LIST_PATH ? await relayList(c, caller) : await relayModels(c, path, caller);
  if (!response) return createOwnList(caller, settings, quota);
  for (const [name, value] of Object.entries(quota)) response.headers.set(name, value);
  if (!response.ok) return response;
  const body: unknown = await response.json();
  if (path !== LIST_PATH) return Response.json(completeRowIfModel(body, settings), { headers: response.headers });
  // Gateways for several APIs have a list in another form, which has only models.
  if (!isObject(body) || !Array.isArray(body.data)) return createOwnList(caller, settings, quota);
  const data = body.data.map((row) => completeRowIfModel(row, settings));
  const page = { has_more: false, first_id: rowId(data[0]), last_id: rowId(data.at(-1)), ...body, data };
  return Response.json(page, { headers: response.headers });
}

/** @throws ApiError for a stream, which is not an answer to this question. It is cancelled */
async function relayModels(c: Context<AppEnv>, path: string, caller: Request): Promise<Response> {
  const { settings: all, requestId, waitUntil } = contextOf(c);
  const { UPSTREAM_TIMEOUT_MS, STREAM_IDLE_MS } = all;
  const mostMs = path === LIST_PATH ? LIST_TIMEOUT_MS : MODEL_TIMEOUT_MS;
  const settings = {
    ...all,
    UPSTREAM_TIMEOUT_MS: Math.min(UPSTREAM_TIMEOUT_MS, mostMs),
    STREAM_IDLE_MS: Math.min(STREAM_IDLE_MS, mostMs),
  };
  const routing = { streams: false, isQuick: true };
  const upstream = upstreamFor(c);
  const response = await relay({ path, caller, routing }, { upstream, settings, requestId, waitUntil });
  if (!isEventStream(response)) return response;
  // Nobody needs it any more, however it ends.
  response.body?.cancel().catch(() => undefined);
  throw notApiError();
}

/** @returns the upstream's list, for some minutes the same, or what it answers instead. @throws ApiError as `relayModels` */
async function getCachedList(c: Context<AppEnv>, caller: Request): Promise<Response> {
  const settings = c.get('settings');
  const upstream = upstreamFor(c);
  const lists = getOrCreate(listCache, upstream, () => new LruCache({ maxSize: MAX_CACHED_LISTS }));
  const goUp = [...caller.headers].filter(([name]) =>
    isForwarded(name, [...VARY_HEADERS, ...settings.FORWARD_HEADERS]),
  );
  const key = JSON.stringify([queryOf(caller.url), goUp]);
  const earlier = lists.get(key);
  if (earlier && Date.now() < earlier.until) return earlier.createResponse();
  const response = await relayModels(c, LIST_PATH, new Request(caller, { headers: goUp }));
  if (!response.ok) return response;
  const text = await response.text();
  const { 'request-id': _, ...headers } = Object.fromEntries(response.headers);
  lists.set(key, { createResponse: () => new Response(text, { headers }), until: Date.now() + LIST_CACHE_MS });
  return new Response(text, response);
}

/**
 * @returns the upstream's list; undefined if it has none, is down, or does not send it in time. The log says so
 * @throws ApiError where the upstream refuses the key: nobody must take a dead key for a live one
 */
async function relayList(c: Context<AppEnv>, caller: Request): Promise<Response | undefined> {
  const { line } = c.get('entry');
  try {
    const response = await getCachedList(c, caller);
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

function rowId(row: unknown): string | null {
  return isModelRow(row) ? row.id : null;
}

/** @returns the models of this edge's own table, for a gateway without a list, which may serve any of them. */
function createOwnList(caller: Request, settings: Settings, quota: Record<string, string>): Response {
  const everywhere = { all: [{ idOf: (model: string) => model }] };
  const rows = listServedModels(everywhere, [], settings, Date.now()).map((row) => completeRow(row, settings));
  const page = paginateRows(rows, readPage(Object.fromEntries(new URL(caller.url).searchParams)), ({ id }) => id);
  return Response.json(page, { headers: quota });
}

/** @returns all models of several upstreams: those in the list of one of them, and those in this edge's table. */
async function respondWithPooledModels(c: Context<AppEnv>, pool: UpstreamPool): Promise<Response> {
  const { settings } = contextOf(c);
  const request = { method: 'GET', path: LIST_PATH, headers: {} };
  const lists = pool.all.filter((one) => one.lacks(request) === undefined).length;
  const quota = await admitFree(c);
  const listed = lists > 0 ? await fetchFirstList(c, lists === pool.all.length) : undefined;
  const headers = listed?.headers ?? new Headers();
  for (const [name, value] of Object.entries(quota)) headers.set(name, value);
  const rows = listServedModels(pool, listed?.rows ?? [], settings, Date.now());
  return Response.json({ data: rows.map((row) => completeRow(row, settings, pool)) }, { headers });
}

/**
 * @param areAll whether there is no other upstream, whose key may be good
 * @returns the list of an upstream that has one; undefined while none of them answers. The log says so
 * @throws ApiError where all of them refuse their keys
 */
async function fetchFirstList(
  c: Context<AppEnv>,
  areAll: boolean,
): Promise<{ headers: Headers; rows: ModelRow[] } | undefined> {
  const { line } = c.get('entry');
  try {
    const listed = await getCachedList(c, toFullListRequest(c.req.raw));
    if (listed.ok) return { headers: listed.headers, rows: parseModelRows(await listed.json()) };
    line.error_type = `upstream_${listed.status}`;
  } catch (thrown) {
    line.error_type = toApiError(thrown).logged;
    if (areAll && line.error_type === 'upstream_auth') throw thrown;
  }
  return undefined;
}

function completeRowIfModel(row: unknown, settings: Settings): unknown {
  return isModelRow(row) ? completeRow(row, settings) : row;
}

/**
 * @returns a row, completed from the model table. The API's own figures win, and the table fills in absent ones. If there are
 *   several upstreams, the price is the one at the upstream that is tried first
 */
function completeRow(row: ModelRow, settings: Settings, pool?: UpstreamPool): ModelRow {
  const model: Model | undefined = settings.models.find(row.id);
  const places = pool && findServingUpstreams(pool, row.id, settings);
  return {
    type: 'model',
    display_name: model?.display_name ?? row.id,
    created_at: UNKNOWN_DAY,
    ...row,
    max_input_tokens: row.max_input_tokens ?? model?.max_input_tokens ?? null,
    max_tokens: row.max_tokens ?? model?.max_tokens ?? null,
    lifecycle: row.lifecycle ?? (model ? lifecycleOf(model) : null),
    retires_at: row.retires_at ?? model?.retires_at ?? null,
    line: row.line ?? model?.line ?? null,
    thinking: model?.thinking ?? null,
    efforts: model?.efforts ?? [],
    default_effort: model?.default_effort ?? null,
    fast_until: model?.fast_until ?? null,
    minimum_cacheable_tokens: model?.minimum_cacheable_tokens ?? null,
    replacement: model?.replacement ?? null,
    prices: places?.[0]?.prices ?? toPublicPrices(model),
    ...(places && { upstreams: places }),
  };
}
