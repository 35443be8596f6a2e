import type { Context } from 'hono';
import { Hono } from 'hono';
import { cost, toUsd } from '../claude/cost.ts';
import { edit, withoutRepeatedKeys } from '../claude/edit.ts';
import { retiresSoon } from '../claude/models.ts';
import { type Outcome, relay } from '../claude/relay.ts';
import { type Fetch, upstreamOf } from '../claude/upstream.ts';
import type { AppEnv } from '../env.ts';
import { ApiError, DO_NOT_RETRY } from '../errors.ts';
import { check, type JsonBody, readJson } from '../schemas/json.ts';
import { messagesRequest } from '../schemas/messages.ts';

/** The Messages API: `/v1/messages` as Anthropic has it, `/messages` with streaming as the default. */
export function messagesRoutes(fetchUpstream?: Fetch) {
  return new Hono<AppEnv>()
    .post('/messages', (c) => answer(c, true, fetchUpstream))
    .post('/v1/messages', (c) => answer(c, false, fetchUpstream));
}

async function answer(c: Context<AppEnv>, streamByDefault: boolean, fetchUpstream?: Fetch): Promise<Response> {
  const { settings, requestId, entry } = c.var;
  const upstream = upstreamOf(settings, fetchUpstream);
  const body = await readJson(c.req.raw, settings.MAX_BODY_BYTES);
  const request = check(messagesRequest, body.json);
  refuseExtensions(c.req.raw.headers, body.json);
  const model = settings.models.resolve(request.model);
  const changes: Record<string, string> = {};
  if (model !== request.model) changes.model = JSON.stringify(model);
  if (streamByDefault && request.stream === undefined) changes.stream = 'true';
  entry.line.model = model;
  const response = await relay(
    {
      path: '/v1/messages',
      body: bodyUp(body, changes),
      caller: c.req.raw,
    },
    { upstream, settings, requestId, waitUntil: (work) => c.executionCtx.waitUntil(work), onEnd: logOutcome(c) },
  );
  const retires = retiresSoon(settings.models.find(model));
  if (retires !== undefined) response.headers.set('sluice-model-retires', retires);
  return response;
}

/**
 * Conversations and prefixes are asked for by these fields and headers; the upstream would not know them.
 *
 * @throws ApiError 501 until this edge offers them
 */
export function refuseExtensions(headers: Headers, body: Readonly<Record<string, unknown>>): void {
  for (const name of ['conversation', 'prefix']) {
    if (!Object.hasOwn(body, name) && !headers.has(`sluice-${name}`)) continue;
    throw new ApiError('not_supported', `This edge does not offer \`${name}\` yet. Leave it out.`, {
      headers: DO_NOT_RETRY,
    });
  }
}

/** @returns the caller's own bytes, unless something in them must change. */
export function bodyUp(body: JsonBody, changes: Record<string, string>): Uint8Array | string {
  const single = withoutRepeatedKeys(body.text, body.json);
  if (Object.keys(changes).length > 0) return edit(single, changes);
  return single === body.text ? body.bytes : single;
}

/** @returns what fills the log line with what the answer told, once it has ended. */
export function logOutcome(c: Context<AppEnv>): (outcome: Outcome) => undefined {
  const { entry, settings } = c.var;
  entry.begin();
  return (outcome) => {
    const { line } = entry;
    const { usage } = outcome;
    line.model = outcome.model ?? line.model;
    line.upstream_request_id = outcome.upstream_request_id;
    line.ttft_ms = outcome.ttft_ms;
    if (outcome.end !== 'complete') line.error_type = outcome.error_type ?? `upstream_${outcome.end}`;
    if (outcome.status === 429) line.limited_by = 'upstream';
    if (usage) {
      const { row } = settings.models.price(outcome.model ?? '');
      line.cost_usd = toUsd(cost(usage, row, { priceOf: (model) => settings.models.price(model).row }));
      line.tokens = {
        input: usage.input_tokens ?? 0,
        output: usage.output_tokens ?? 0,
        cache_read: usage.cache_read_input_tokens ?? 0,
        cache_write: usage.cache_creation_input_tokens ?? 0,
      };
    }
    entry.end();
  };
}
