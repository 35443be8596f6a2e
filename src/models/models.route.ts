import type { Context } from 'hono';
import { admitted } from '../accounts/admission/admit-free.ts';
import { requireScope } from '../auth/authenticate.ts';
import { type AppEnv, contextOf } from '../auth/context.ts';
import { callAccount } from '../durable/call-account.ts';
import { notFound } from '../http/errors.ts';
import { Hono } from '../http/hono.ts';
import { readPage } from '../http/page.ts';
import { isObject } from '../json/object.ts';
import { mayUse, pageOfModels, usableModels } from '../pricing/allowed-models.ts';
import type { Model, ModelTable } from '../pricing/models.ts';
import { queryOf, relay } from '../upstream/relay.ts';
import { type Fetch, upstreamOf } from '../upstream/upstream.ts';

const MODEL_NAME = /^(?![./])(?!.*\.\.)[\w.:@/-]+$/;

/** Lists the upstream's models with the limits and prices that this edge knows; only those that the account may use. */
export function modelsRoutes(fetchUpstream?: Fetch) {
  const mayRead = requireScope('messages');
  const list = async (c: Context<AppEnv>) => {
    const allowed = await allowedModels(c);
    if (!allowed) return await answerModels(c, '/v1/models', fetchUpstream);
    const { models } = c.get('settings');
    const page = readPage(c.req.query());
    // A page of the upstream's could have none of the allowed models. So all are fetched, and paged here.
    const all = await answerModels(c, '/v1/models', fetchUpstream, allOf(c.req.raw));
    if (!all.ok) return all;
    const { data } = (await all.json()) as { data?: unknown };
    const rows = Array.isArray(data) ? data.filter(isRow) : [];
    return Response.json(pageOfModels(usableModels(rows, allowed, models), page), { headers: all.headers });
  };
  const one = async (c: Context<AppEnv>) => {
    const { models } = c.get('settings');
    const name = c.req.param('id') ?? '';
    // Such a name could reach another path of the upstream, if a proxy before it decodes the escaped characters.
    if (!MODEL_NAME.test(name)) throw notFound('There is no such model. GET /models lists those that there are.');
    const allowed = await allowedModels(c);
    if (allowed && !mayUse(name, allowed, models)) {
      throw notFound(`This account may not use ${name.slice(0, 128)}. GET /models lists the models that it may.`);
    }
    return await answerModels(c, `/v1/models/${encodeURIComponent(models.resolve(name))}`, fetchUpstream);
  };
  return new Hono<AppEnv>()
    .get('/v1/models', mayRead, list)
    .get('/models', mayRead, list)
    .get('/v1/models/:id', mayRead, one)
    .get('/models/:id', mayRead, one);
}

/** @returns the account's limit `models`; undefined where it may use any. */
async function allowedModels(c: Context<AppEnv>): Promise<readonly string[] | undefined> {
  const { settings } = c.var;
  const { limits } = await callAccount(contextOf(c), (account) => account.standing(settings.DEFAULT_LIMITS));
  return limits.models;
}

/** @returns a request for one page with all rows. */
function allOf(caller: Request): Request {
  const query = new URLSearchParams(queryOf(caller.url));
  for (const cursor of ['after_id', 'before_id']) query.delete(cursor);
  query.set('limit', '1000');
  return new Request(`${caller.url.split('?', 1)[0]}?${query}`, caller);
}

async function answerModels(
  c: Context<AppEnv>,
  path: string,
  fetchUpstream?: Fetch,
  caller: Request = c.req.raw,
): Promise<Response> {
  const { settings, requestId, waitUntil } = contextOf(c);
  const standing = await admitted(c);
  const response = await relay(
    { path, caller },
    { upstream: upstreamOf(settings, fetchUpstream), settings, requestId, waitUntil },
  );
  for (const [name, value] of Object.entries(standing)) response.headers.set(name, value);
  if (!response.ok) return response;
  const body: unknown = await response.json();
  return Response.json(joinAll(body, settings.models), { headers: response.headers });
}

function joinAll(body: unknown, models: ModelTable): unknown {
  if (!isObject(body)) return body;
  return Array.isArray(body.data) ? { ...body, data: body.data.map((row) => join(row, models)) } : join(body, models);
}

/** @returns a row with what the model table knows. The API's own figures win; the table fills those that are absent. */
function join(row: unknown, models: ModelTable): unknown {
  if (!isRow(row)) return row;
  const model: Model | undefined = models.find(row.id);
  return {
    ...row,
    max_input_tokens: row.max_input_tokens ?? model?.max_input_tokens ?? null,
    max_tokens: row.max_tokens ?? model?.max_tokens ?? null,
    retires_at: row.retires_at ?? model?.retires_at ?? null,
    minimum_cacheable_tokens: model?.minimum_cacheable_tokens ?? null,
    replacement: model?.replacement ?? null,
    prices: model?.prices ?? null,
  };
}

function isRow(value: unknown): value is { id: string; [key: string]: unknown } {
  return isObject(value) && typeof value.id === 'string';
}
