import type { Context } from 'hono';
import { Hono } from 'hono';
import { inputCosts } from '../claude/cost.ts';
import { relay } from '../claude/relay.ts';
import { type Fetch, upstreamOf } from '../claude/upstream.ts';
import type { AppEnv } from '../env.ts';
import { type CountAnswer, countAnswer } from '../schemas/counts.ts';
import { check, readJson } from '../schemas/json.ts';
import { countRequest } from '../schemas/messages.ts';
import { bodyUp, logOutcome, refuseExtensions } from './messages.ts';

/** Counts the tokens of a prompt, and says what the figure means for its model. */
export function countTokensRoutes(fetchUpstream?: Fetch) {
  return new Hono<AppEnv>()
    .post('/count-tokens', (c) => answer(c, fetchUpstream))
    .post('/v1/messages/count_tokens', (c) => answer(c, fetchUpstream));
}

async function answer(c: Context<AppEnv>, fetchUpstream?: Fetch): Promise<Response> {
  const { settings, requestId, entry } = c.var;
  const upstream = upstreamOf(settings, fetchUpstream);
  const body = await readJson(c.req.raw, settings.MAX_BODY_BYTES);
  const request = check(countRequest, body.json);
  refuseExtensions(c.req.raw.headers, body.json);
  const name = settings.models.resolve(request.model);
  entry.line.model = name;
  const response = await relay(
    {
      path: '/v1/messages/count_tokens',
      body: bodyUp(body, name === request.model ? {} : { model: JSON.stringify(name) }),
      caller: c.req.raw,
    },
    { upstream, settings, requestId, waitUntil: (work) => c.executionCtx.waitUntil(work), onEnd: logOutcome(c) },
  );
  if (!response.ok) return response;
  const counted = check(countAnswer.pick({ input_tokens: true }), await response.json());
  const model = settings.models.find(name);
  const meaning: CountAnswer = {
    ...counted,
    context_window: model?.max_input_tokens ?? null,
    fits: model ? counted.input_tokens <= model.max_input_tokens : null,
    cost_usd: model ? inputCosts(counted.input_tokens, model) : null,
  };
  return Response.json(meaning, { headers: response.headers });
}
