import type { Context } from 'hono';
import { validateMessages } from '../../claude/messages.schema.ts';
import type { RequestOutcome } from '../../claude/outcome.ts';
import { loggedTokens, type Nanodollars, toUsd } from '../../claude/pricing/cost.ts';
import { relay } from '../../claude/relay.ts';
import { namedIds } from '../../claude/request/named-ids.ts';
import { endUserOf, keyUp, withUserId } from '../../claude/request/user-id.ts';
import { type Fetch, type Upstream, upstreamOf } from '../../claude/upstream.ts';
import { requireScope } from '../../gate/auth/authenticate.ts';
import { openToBound } from '../../gate/auth/bound-routes.ts';
import { type AppEnv, contextOf } from '../../gate/auth/context.ts';
import { hidesTools } from '../../gate/identity/only.ts';
import { noteAsked } from '../../kit/http/gen-ai.ts';
import { commonHeaders } from '../../kit/http/headers/request-id.ts';
import { Hono } from '../../kit/http/hono.ts';
import { withOneReading } from '../../kit/http/read-json.ts';
import { parseObject } from '../../kit/json/object.ts';
import { formatUsd } from '../../money/admission/limit-headers.ts';
import { MeteredExchange } from '../../money/admission/metered-exchange.ts';
import { pauseAfterBody, readLong } from '../../money/admission/read-body.ts';
import { refuseRevokedInTheEnd } from '../../money/admission/refuse-revoked.ts';
import { withPrefix } from '../../named/prefixes/resolve.ts';
import { ownerName } from '../../named/versions/named-routes.ts';
import { chosenHeader } from '../../rooms/choice/choose-model.ts';
import { refuseSpent } from '../../rooms/pools/spent-pools.ts';
import { withoutEdgeBlocksIn } from '../../rooms/runs/edge-blocks.ts';
import { quietError } from '../answers/hidden-answer.ts';
import { askedMember, refuseAbsent } from '../contracts/members.ts';
import { proxyTurn } from '../conversations/turn-proxy.ts';
import { type StatelessMessage, statelessMessage } from './stateless-message.ts';

/**
 * Makes the routes of the Messages API: `/v1/messages` as Anthropic has it, and `/messages` with streaming as the default.
 */
export function messagesRoutes(options: MessagesOptions = {}) {
  return new Hono<AppEnv>()
    .post('/messages', refuseRevokedInTheEnd, openToBound(refuseSpent(requireScope('messages'))), (c) =>
      answerMessage(c, true, options),
    )
    .post('/v1/messages', refuseRevokedInTheEnd, openToBound(refuseSpent(requireScope('messages'))), (c) =>
      answerMessage(c, false, options),
    );
}

/** What a Worker can decide about how messages are answered. */
export interface MessagesOptions {
  /**
   * Called instead of `fetch` for everything that goes to the Claude API: the binding of a gateway, or a simulator in a test.
   * It should end when `signal` is aborted. The key in its headers is the setting ANTHROPIC_API_KEY.
   */
  fetch?: Fetch;
  /**
   * Whether requests are neither admitted nor booked.
   *
   * @internal for measurements. Conversations are still metered
   */
  isUnmetered?: boolean;
}

async function answerMessage(
  c: Context<AppEnv>,
  streamByDefault: boolean,
  options: MessagesOptions,
): Promise<Response> {
  const upstream = upstreamOf(c.get('settings'), options.fetch);
  const sent = withOneReading(await readLong(c, options.isUnmetered ? 'nothing' : 'price'), 'outermost');
  refuseAbsent(sent.json, c.req.raw.headers);
  const conversation = askedMember('conversation', c.req.raw.headers, sent.json);
  if (conversation !== undefined) {
    return await proxyTurn(c, sent, conversation, { streamByDefault, log: () => logOutcome(c) });
  }
  const { isUnmetered = false } = options;
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
  { body: sent, caller, agent, chosen, most }: StatelessMessage,
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
      prefix: prefixed.prefix,
      agent: agent?.version,
      chosenBy: chosen && agent && { ...chosen.by, part: 'first', owner: ownerName(agent.owner) },
      most,
      fallbacks: agent
        ? agent.definition.fallback_models
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
  const told = chosen && chosenHeader(chosen, c.get('identity').only !== undefined);
  c.get('entry').line.model_chosen = told?.['sluice-model-chosen'];
  let price: string | undefined;
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
      repeatsSecrets: agent?.definition.mcp_servers?.some((server) => server.authorization_token) === true,
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
        ...meter.headers(answeredBy),
        // A stream tells the price in a comment behind its end.
        ...(agent && { 'sluice-agent': agent.version }),
        ...told,
        ...(buffered?.ok && price !== undefined ? { 'sluice-cost-usd': price } : {}),
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
        const { nanodollars, done } = settled;
        waitUntil(done);
        price = formatUsd(nanodollars);
        return `sluice-cost-usd=${price}`;
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

/** @returns a function to call once with the outcome of the answer. It fills in the log line, so that it can be written. */
export function logOutcome(c: Context<AppEnv>): (outcome: RequestOutcome, nanodollars?: Nanodollars) => undefined {
  const entry = c.get('entry');
  entry.begin();
  return ({ usage, model, end, error_type, upstream, upstream_request_id, ttft_ms }, nanodollars) => {
    const { line } = entry;
    noteAsked(line, c.get('settings').UPSTREAMS.find(({ name }) => name === upstream)?.kind);
    line.model = model ?? line.model;
    line.upstream_request_id = upstream_request_id;
    if (upstream !== undefined) line.upstream = upstream;
    line.ttft_ms = ttft_ms;
    if (end !== 'complete') line.error_type = error_type ?? (end === 'client_gone' ? end : `upstream_${end}`);
    if (nanodollars !== undefined) line.cost_usd = toUsd(nanodollars);
    if (usage) line.tokens = loggedTokens(usage);
    entry.end();
  };
}
