import type { Context } from 'hono';
import { Hono } from 'hono';
import { requireScope } from '../auth/authenticate.ts';
import type { Model, ModelTable } from '../claude/models.ts';
import { relay } from '../claude/relay.ts';
import { type Fetch, upstreamOf } from '../claude/upstream.ts';
import type { AppEnv } from '../env.ts';
import { admitted } from './free.ts';

/** The upstream's models joined with the limits and prices that this edge knows. */
export function modelsRoutes(fetchUpstream?: Fetch) {
  const may = requireScope('messages');
  const list = (c: Context<AppEnv>) => answer(c, '/v1/models', fetchUpstream);
  const one = (c: Context<AppEnv>) => {
    const id = c.get('settings').models.resolve(c.req.param('id') ?? '');
    return answer(c, `/v1/models/${encodeURIComponent(id)}`, fetchUpstream);
  };
  return new Hono<AppEnv>()
    .get('/v1/models', may, list)
    .get('/models', may, list)
    .get('/v1/models/:id', may, one)
    .get('/models/:id', may, one);
}

async function answer(c: Context<AppEnv>, path: string, fetchUpstream?: Fetch): Promise<Response> {
  const { settings, requestId } = c.var;
  const standing = await admitted(c);
  const response = await relay(
    {
      path,
      caller: c.req.raw,
    },
    {
      upstream: upstreamOf(settings, fetchUpstream),
      settings,
      requestId,
      waitUntil: (work) => c.get('entry').during(work),
    },
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

/** The API's own figures win; ours fill what it leaves open and add what it does not have. */
function join(row: unknown, models: ModelTable): unknown {
  if (!isObject(row) || typeof row.id !== 'string') return row;
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

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
