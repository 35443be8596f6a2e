import type { Context } from 'hono';
import { Hono } from 'hono';
import { requireScope } from '../auth/authenticate.ts';
import { inputCosts } from '../claude/cost.ts';
import { relay } from '../claude/relay.ts';
import { type Fetch, upstreamOf } from '../claude/upstream.ts';
import type { AppEnv } from '../env.ts';
import { ApiError, DO_NOT_RETRY } from '../errors.ts';
import { admitCount } from '../objects/metering.ts';
import { type CountAnswer, countAnswer } from '../schemas/counts.ts';
import { check, readJson } from '../schemas/json.ts';
import { countRequest } from '../schemas/messages.ts';
import { bodyUp, logOutcome, withoutRepetition } from './messages.ts';
import { withPrefix } from './prefixed.ts';

/** Counts the tokens of a prompt, and says what the figure means for its model. */
export function countTokensRoutes(fetchUpstream?: Fetch) {
  return new Hono<AppEnv>()
    .post('/count-tokens', requireScope('messages'), (c) => answer(c, fetchUpstream))
    .post('/v1/messages/count_tokens', requireScope('messages'), (c) => answer(c, fetchUpstream));
}

async function answer(c: Context<AppEnv>, fetchUpstream?: Fetch): Promise<Response> {
  const settings = c.get('settings');
  const requestId = c.get('requestId');
  const upstream = upstreamOf(settings, fetchUpstream);
  const sent = withoutRepetition(await readJson(c.req.raw, settings.MAX_BODY_BYTES));
  refuseConversation(c.req.raw.headers, sent.json);
  const { body } = await withPrefix(c, sent, { counts: true });
  const request = check(countRequest, body.json);
  const name = settings.models.resolve(request.model);
  c.get('entry').line.model = name.slice(0, 128);
  const waitUntil = (work: Promise<unknown>) => c.get('entry').during(work);
  const standing = await admitCount({
    requestId,
    route: 'count-tokens',
    identity: c.get('identity'),
    accounts: c.env,
    store: c.env.STORE,
    settings,
    model: name,
    waitUntil,
  });
  const changes: Record<string, string> = name === request.model ? {} : { model: JSON.stringify(name) };
  const response = await relay(
    { path: '/v1/messages/count_tokens', body: bodyUp(body, changes), caller: c.req.raw },
    { upstream, settings, requestId, waitUntil, onEnd: logOutcome(c) },
  );
  for (const [header, value] of Object.entries(standing)) response.headers.set(header, value);
  if (!response.ok) return response;
  const counted = countAnswer.pick({ input_tokens: true }).safeParse(await response.json()).data;
  if (!counted) throw new ApiError('api_error', 'The upstream’s count could not be read. Try again.');
  const model = settings.models.find(name);
  const meaning: CountAnswer = {
    ...counted,
    context_window: model?.max_input_tokens ?? null,
    fits: model ? counted.input_tokens <= model.max_input_tokens : null,
    cost_usd: model ? inputCosts(counted.input_tokens, model) : null,
  };
  return Response.json(meaning, { headers: response.headers });
}

/** @throws ApiError 501: what a conversation holds is not counted here, and the upstream would not know the field. */
function refuseConversation(headers: Headers, body: Readonly<Record<string, unknown>>): void {
  if (!Object.hasOwn(body, 'conversation') && !headers.has('sluice-conversation')) return;
  throw new ApiError('not_supported', 'This edge does not count conversations. Leave `conversation` out.', {
    headers: DO_NOT_RETRY,
  });
}
