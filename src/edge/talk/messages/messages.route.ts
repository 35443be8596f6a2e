import type { Context } from 'hono';
import { validateMessages } from '../../claude/messages.schema.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { relay } from '../../claude/relay.ts';
import { namedIds } from '../../claude/request/named-ids.ts';
import { endUserOf, keyUp, withUserId } from '../../claude/request/user-id.ts';
import { type Upstream, upstreamFor } from '../../claude/upstream.ts';
import { type AppEnv, contextOf } from '../../gate/auth/context.ts';
import { route } from '../../gate/auth/route.ts';
import { hidesTools } from '../../gate/identity/only.ts';
import { commonHeaders } from '../../kit/http/headers/request-id.ts';
import { withOneReading } from '../../kit/http/read-json.ts';
import { parseObject } from '../../kit/json/object.ts';
import { costRemark, logOutcome } from '../../money/admission/answer-end.ts';
import { MeteredExchange } from '../../money/admission/metered-exchange.ts';
import { pauseAfterBody, readLong } from '../../money/admission/read-body.ts';
import { OF_PREFIX, say } from '../../money/contracts/about.ts';
import { withPrefix } from '../../named/prefixes/resolve.ts';
import { quietError } from '../answers/hidden-answer.ts';
import { askedMember, refuseAbsent } from '../contracts/members.ts';
import { proxyTurn } from '../conversations/turn-proxy.ts';
import { withoutEdgeBlocksIn } from '../history/edge-blocks.ts';
import { refOf } from '../storage/rows.ts';
import { type StatelessMessage, statelessMessage } from './stateless-message.ts';

/**
 * The routes of the Messages API: `/v1/messages` as Anthropic has it, and `/messages` with streaming as the default.
 */
export const MESSAGE_ROUTES = [
  route('POST /messages', { needs: 'messages', bound: true, spends: true, admits: true }, (c) =>
    answerMessage(c, true),
  ),
  route('POST /v1/messages', { needs: 'messages', bound: true, spends: true, admits: true }, (c) =>
    answerMessage(c, false),
  ),
];

async function answerMessage(c: Context<AppEnv>, streamByDefault: boolean): Promise<Response> {
  const upstream = upstreamFor(c);
  const { isUnmetered = false } = c.get('app');
  const sent = withOneReading(await readLong(c, isUnmetered ? 'nothing' : 'price'), 'outermost');
  refuseAbsent(sent.json, c.req.raw.headers);
  const conversation = askedMember('conversation', c.req.raw.headers, sent.json);
  if (conversation !== undefined) {
    return await proxyTurn(c, sent, conversation, streamByDefault);
  }
  const stateless = await statelessMessage(c, sent, upstream);
  const message = await admittedMessage(c, stateless, { upstream, streamByDefault, isUnmetered });
  return await relayedMessage(c, message, { upstream, isUnmetered });
}

interface AdmittedMessage extends Pick<StatelessMessage, 'caller' | 'agent' | 'chosen'> {
  meter: MeteredExchange;
  hasFallbacks: boolean;
  idempotencyKey: string | undefined;
}

/** Puts the prefix into a message, checks the message, and has it admitted. */
async function admittedMessage(
  c: Context<AppEnv>,
  { body: sent, caller, agent, chosen, about, most }: StatelessMessage,
  { upstream, streamByDefault, isUnmetered }: { upstream: Upstream; streamByDefault: boolean; isUnmetered: boolean },
): Promise<AdmittedMessage> {
  const context = contextOf(c);
  const { identity, settings } = context;
  const { headers, signal } = caller;
  const { ids: named, body: own } = namedIds(await withoutEdgeBlocksIn(sent));
  await pauseAfterBody(own);
  const prefixed = await withPrefix(c, own, { defaults: streamByDefault ? { stream: true } : {} });
  const body = await withUserId(prefixed.body, settings, identity.account);
  const request = validateMessages(body.json);
  const model = settings.models.resolve(request.model);
  c.get('entry').line.model = model.slice(0, 128);
  const streams = request.stream ?? streamByDefault;
  const meter = new MeteredExchange(
    {
      ...context,
      route: 'messages',
      identity: { ...identity, user: await endUserOf(prefixed.body) },
      upstream,
      body,
      model,
      headers,
      streams,
      about: { ...about, ...say(OF_PREFIX, prefixed.prefix) },
      most,
      fallbacks: agent
        ? agent.stored.definition.fallback_models
        : (askedMember('fallback_models', headers, own.json) ?? prefixed.fallbacks),
      routing: { streams, account: identity.account },
      signal,
    },
    {
      named,
      modelInBody: request.model,
      changes: streams && request.stream === undefined ? { stream: 'true' } : {},
      mayRide: true,
      isUnmetered,
    },
  );
  const idempotencyKey = await keyUp(headers, identity.account);
  await meter.open();
  return { meter, caller, agent, chosen, hasFallbacks: request.fallbacks !== undefined, idempotencyKey };
}

/** Relays an admitted message, and books it at its end. */
async function relayedMessage(
  c: Context<AppEnv>,
  { meter, caller, agent, chosen, hasFallbacks, idempotencyKey }: AdmittedMessage,
  { upstream, isUnmetered }: { upstream: Upstream; isUnmetered: boolean },
): Promise<Response> {
  const { requestId, settings, waitUntil } = contextOf(c);
  const log = logOutcome(c);
  const share = c.get('share');
  const told = chosen?.told(c.get('identity').only !== undefined);
  c.get('entry').line.model_chosen = told?.['sluice-model-chosen'];
  let cost: Nanodollars | undefined;
  let answeredBy: string | undefined;
  let noted: Promise<void> | undefined;
  const response = await relay(
    {
      path: '/v1/messages',
      body: meter.body,
      caller,
      expectsMessage: true,
      rides: meter.rides,
      hasFallbacks,
      readsIds: meter.makesThings,
      repeatsSecrets: agent?.stored.hasSecrets === true,
      routing: meter.routing,
      idempotencyKey,
    },
    {
      upstream,
      settings,
      requestId,
      waitUntil,
      payment: isUnmetered ? undefined : meter.payment,
      ownHeaders: (buffered) => ({
        // A stream tells the price in a comment behind its end.
        ...meter.headers(answeredBy, buffered?.ok ? cost : undefined),
        ...(agent && { 'sluice-agent': refOf(agent.agent) }),
        ...told,
        ...commonHeaders(requestId),
      }),
      onHeaders: (name) => {
        answeredBy = name;
        meter.release();
        share.leave();
      },
      onEnd: (outcome) => {
        const settled = isUnmetered ? undefined : meter.granted.settle(outcome, { ms: c.get('entry').elapsed() });
        log(outcome, settled?.nanodollars);
        if (outcome.made) {
          noted = meter.note(outcome.made, outcome.upstream);
          waitUntil(noted);
        }
        if (!settled) return undefined;
        waitUntil(settled.done);
        cost = settled.nanodollars;
        return costRemark(cost);
      },
    },
  );
  // A client with the whole answer may use its ids at once, so they are noted first.
  if (noted !== undefined) await noted;
  if (response.ok || !hidesTools(c.get('identity').only)) return response;
  const headers = new Headers(response.headers);
  headers.delete('content-length');
  return new Response(quietError(parseObject(await response.text()) ?? {}), { status: response.status, headers });
}
