import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../auth/context.ts';
import { shouldHideToolContents } from '../auth/identity/only.ts';
import { defineRoute } from '../auth/route.ts';
import { validateMessages } from '../claude/messages.schema.ts';
import { createModelHintHeaders } from '../claude/models/model-hint.ts';
import { relayRequest } from '../claude/relay.ts';
import { readRequestField } from '../claude/request/all-fields.ts';
import { findReferencedIds } from '../claude/request/referenced-ids.ts';
import { applyUserIdSetting, computeEndUserHash, createUpstreamKey } from '../claude/request/user-id.ts';
import { getUpstreamOfContext, type Upstream } from '../claude/upstream.ts';
import type { CreatedId } from '../claude/usage/created-ids.ts';
import { getMessageDefaults, type MessageDefaults } from '../config/message-defaults.ts';
import { formatVersionReference } from '../conversations/history/storage/rows.ts';
import { proxyTurn } from '../conversations/object/turn-proxy.ts';
import { addToolNameToMessage } from '../conversations/turn/tool-name-in-error.ts';
import { restoreEdgeCallsInBody } from '../conversations/views/edge-blocks.ts';
import { redactError } from '../conversations/views/redact-answer.ts';
import type { JsonBody } from '../kit/http/body/json-body.ts';
import { type ApiError, createInvalidRequestError } from '../kit/http/errors.ts';
import { createCommonHeaders } from '../kit/http/headers/request-id.ts';
import { removeRepeatedKeysFromBody } from '../kit/http/read-json.ts';
import { getMember, isObject, parseJsonObject, toJsonText } from '../kit/json/object.ts';
import { createOutcomeLogger, formatCostComments } from '../money/admission/answer-end.ts';
import type { SettledCost } from '../money/admission/billed-attempt.ts';
import { BilledRequest } from '../money/admission/billed-request.ts';
import { pauseAfterLongBody, readJsonBodyToForward } from '../money/admission/read-body.ts';
import { createDimensionValue, OF_PREFIX } from '../money/contracts/dimensions.ts';
import { expandPrefixOfRequest } from '../registry/prefixes/resolve.ts';
import {
  addMessageDefaults,
  type PreparedStatelessMessage,
  prepareStatelessMessage,
  requireModel,
} from './stateless-message.ts';

/**
 * The routes of the Messages API: `/v1/messages` as Anthropic has it, and Sluice's own `/messages`, which streams by default, adds
 * the defaults of MESSAGE_DEFAULTS, and rejects an `idempotency-key` that has no effect.
 */
export const MESSAGE_ROUTES = [
  defineRoute(
    'POST /messages',
    { needs: 'messages', openToRestrictedTokens: true, spends: true, checksRevocation: true },
    (c) => handleMessageRequest(c, true),
  ),
  defineRoute(
    'POST /v1/messages',
    { needs: 'messages', openToRestrictedTokens: true, spends: true, checksRevocation: true },
    (c) => handleMessageRequest(c, false),
  ),
];

const NOT_REPEATABLE =
  'idempotency-key: supported only with `conversation`, which stores the response. Send `conversation`, or remove the header.';

async function handleMessageRequest(c: Context<AppEnv>, isSluiceRoute: boolean): Promise<Response> {
  const upstream = getUpstreamOfContext(c);
  const { isUnmetered = false } = c.get('app');
  // Before a long body is read, the account is asked whether it rejects all requests of this kind.
  const costKind = isUnmetered ? 'nothing' : 'price';
  const sent = removeRepeatedKeysFromBody(await readJsonBodyToForward(c, costKind), 'outermost');
  const conversation = readRequestField('conversation', c.req.raw.headers, sent.json);
  if (conversation !== undefined) {
    return await proxyTurn(c, sent, conversation, isSluiceRoute);
  }
  // Reject `idempotency-key` only on Sluice's own route. On `/v1/messages` the API ignores it, so clients may send it.
  if (isSluiceRoute && c.req.raw.headers.has('idempotency-key')) throw createInvalidRequestError(NOT_REPEATABLE);
  const defaults = getMessageDefaults(c.get('identity'), c.get('settings'), {
    isSluiceRoute,
    body: sent.json,
  });
  const stateless = await prepareStatelessMessage(c, sent, { upstream, defaults });
  const message = await admitStatelessMessage(c, stateless, { upstream, isSluiceRoute, isUnmetered, defaults });
  return await relayAdmittedMessage(c, message, { upstream, isUnmetered });
}

/** Milliseconds that the hold of a stream lasts: if its isolate dies, the hold is settled soon. */
const STREAM_HOLD_MS = 180_000;
/**
 * Milliseconds after which a living stream renews its hold. The account renews a hold only when less than two thirds of it
 * (120 s) are left. A hold with slightly more is not renewed until the next tick, when 60 s are left. With a tick of 120 s
 * nothing would be left. A tick that renews nothing writes no row, so computing the time of the next renewal would save little.
 */
const RENEW_STREAM_MS = 60_000;

interface AdmittedMessage extends Pick<PreparedStatelessMessage, 'caller' | 'agent' | 'chosen'> {
  billed: BilledRequest;
  isStreaming: boolean;
  /** Whether the caller has requested comments about the cost at the end of a stream. */
  addsCost: boolean;
  /** Whether it has the API's own parameter `fallbacks`. */
  hasApiFallbacks: boolean;
  /** The names of an agent's tools, in the order in which they are sent. */
  tools: readonly unknown[];
  idempotencyKey: string | undefined;
}

/** The body that is sent, and what is read of the parts from which it is built. */
interface BodyToSend {
  body: JsonBody;
  /** The resources that the message names by id. */
  named: readonly CreatedId[];
  prefix: string | undefined;
  /** The models that may step in for the requested one. */
  fallbackModels: readonly string[] | undefined;
  /** The hash of the end user whom the caller names. */
  user: string | undefined;
}

/** Builds the body that is sent: with its prefix, with the defaults, and with the account's name if UPSTREAM_USER_ID says so. */
async function buildBodyToSend(
  c: Context<AppEnv>,
  { body: prepared, caller, agent }: PreparedStatelessMessage,
  { isSluiceRoute, defaults }: { isSluiceRoute: boolean; defaults: MessageDefaults | undefined },
): Promise<BodyToSend> {
  const { identity, settings } = getRequestContext(c);
  // If the body names resources and repeats keys, it is rewritten, so that the upstream reads the ids that are checked here.
  const { ids: named, body: sent } = findReferencedIds(await restoreEdgeCallsInBody(prepared));
  await pauseAfterLongBody(sent);
  const applied = agent ? undefined : defaults;
  const {
    body: prefixed,
    prefix,
    fallbackModels,
  } = await expandPrefixOfRequest(c, sent, {
    defaultsWithPrefix: {
      model: applied?.model,
      max_tokens: applied?.max_tokens,
      ...(isSluiceRoute ? { stream: true } : {}),
    },
  });
  const complete = addMessageDefaults(prefixed, applied, prefix === undefined ? ['model', 'max_tokens', 'system'] : []);
  return {
    body: await applyUserIdSetting(complete, settings, identity.account),
    named,
    prefix,
    fallbackModels: agent
      ? agent.stored.definition.fallback_models
      : (readRequestField('fallback_models', caller.headers, sent.json) ?? fallbackModels),
    user: await computeEndUserHash(prefixed),
  };
}

/** Builds the body of a message, checks it, and reserves its first attempt. */
async function admitStatelessMessage(
  c: Context<AppEnv>,
  message: PreparedStatelessMessage,
  {
    upstream,
    isSluiceRoute,
    isUnmetered,
    defaults,
  }: { upstream: Upstream; isSluiceRoute: boolean; isUnmetered: boolean; defaults: MessageDefaults | undefined },
): Promise<AdmittedMessage> {
  const context = getRequestContext(c);
  const { identity, settings } = context;
  const { caller, agent, chosen, dimensions, costLimit } = message;
  const { headers, signal } = caller;
  const { body, named, prefix, fallbackModels, user } = await buildBodyToSend(c, message, { isSluiceRoute, defaults });
  if (isSluiceRoute) requireModel(body.json, settings);
  const request = validateMessages(body.json);
  const model = settings.models.resolveAlias(request.model);
  c.get('entry').line.model = model.slice(0, 128);
  const isStreaming = request.stream ?? isSluiceRoute;
  const addsCost = readRequestField('stream_cost', headers, {}) !== undefined;
  const billed = new BilledRequest(
    {
      ...context,
      route: 'messages',
      identity: { ...identity, user },
      upstream,
      body,
      model,
      headers,
      streams: isStreaming,
      dimensions: { ...dimensions, ...createDimensionValue(OF_PREFIX, prefix) },
      costLimit,
      ...(isStreaming && { holdMs: STREAM_HOLD_MS }),
      fallbackModels,
      routing: { streams: isStreaming, account: identity.account },
      signal,
    },
    {
      named,
      modelInBody: request.model,
      changes: isStreaming && request.stream === undefined ? { stream: 'true' } : {},
      mayStreamInternally: true,
      isUnmetered,
    },
  );
  const idempotencyKey = await createUpstreamKey(headers, identity.account);
  await billed.reserve();
  if (!isUnmetered) c.get('entry').line.waited_ms = billed.latestAttempt.grant.waitedMs;
  const { tools: sentTools } = body.json;
  const tools = agent && Array.isArray(sentTools) ? sentTools.map((tool) => getMember(tool, 'name')) : [];
  const hasApiFallbacks = request.fallbacks !== undefined;
  return { billed, isStreaming, addsCost, caller, agent, chosen, hasApiFallbacks, tools, idempotencyKey };
}

/** Relays an admitted message, and settles it at its end. */
async function relayAdmittedMessage(
  c: Context<AppEnv>,
  { billed, isStreaming, addsCost, caller, agent, chosen, hasApiFallbacks, tools, idempotencyKey }: AdmittedMessage,
  { upstream, isUnmetered }: { upstream: Upstream; isUnmetered: boolean },
): Promise<Response> {
  const { requestId, settings, waitUntil } = getRequestContext(c);
  const log = createOutcomeLogger(c);
  const bodyMemory = c.get('bodyMemory');
  const choiceHeaders = chosen?.createHeaders(c.get('identity').only !== undefined);
  c.get('entry').line.model_chosen = choiceHeaders?.['sluice-model-chosen'];
  let settledCost: Pick<SettledCost, 'nanodollars' | 'budget'> | undefined;
  let answeredBy: string | undefined;
  let recordingCreatedIds: Promise<void> | undefined;
  const stop = new AbortController();
  const stopIfBlocked = (blocked: ApiError | undefined) => blocked && stop.abort(blocked);
  const renewHold = () => waitUntil(billed.renew().then(stopIfBlocked, () => undefined));
  const renewing = isStreaming && !isUnmetered ? setInterval(renewHold, RENEW_STREAM_MS) : undefined;
  const response = await relayRequest(
    {
      path: '/v1/messages',
      body: billed.createBody,
      caller,
      expectsMessage: true,
      streamInternally: billed.isStreamedInternally,
      hasApiFallbacks,
      readsIds: billed.mayCreateResources,
      repeatsSecrets: agent?.stored.hasSecrets === true,
      routing: billed.routing,
      idempotencyKey,
    },
    {
      upstream,
      settings,
      requestId,
      waitUntil,
      stop: stop.signal,
      payment: isUnmetered ? undefined : billed,
      ownHeaders: (buffered) => ({
        // A buffered response has its cost in a header. A stream reports it in comments at its end, on request.
        ...billed.createAnswerHeaders(answeredBy, buffered?.ok ? settledCost : undefined),
        ...(agent && { 'sluice-agent': formatVersionReference(agent.agent) }),
        ...choiceHeaders,
        ...createCommonHeaders(requestId),
      }),
      onHeaders: (name) => {
        answeredBy = name;
        billed.releaseBody();
        bodyMemory.releaseMemory();
      },
      onCallerLeft: () => {
        clearInterval(renewing);
        waitUntil(billed.abandon());
      },
      onEnd: (outcome) => {
        clearInterval(renewing);
        const settled = isUnmetered ? undefined : billed.settle(outcome, { ms: c.get('entry').elapsedMs() });
        log(outcome, settled?.nanodollars);
        if (outcome.createdIds) {
          recordingCreatedIds = billed.recordCreatedResources(outcome.createdIds, outcome.upstream);
          waitUntil(recordingCreatedIds);
        }
        if (!settled) return undefined;
        waitUntil(settled.done);
        settledCost = settled;
        return addsCost ? formatCostComments(settled.nanodollars, settled.budget) : undefined;
      },
    },
  );
  const isRestricted = c.get('identity').only !== undefined;
  // The header names the agent's model, which a restricted token must not learn.
  const hint = isRestricted ? {} : createModelHintHeaders(response.status, billed.model, settings.models);
  for (const [header, value] of Object.entries(hint)) response.headers.set(header, value);
  // Store the ids before responding: a client may use them as soon as it has the whole response. If they cannot be stored, return
  // the response all the same, because it is paid for. Later requests that use the ids are then rejected with 404.
  await recordingCreatedIds?.catch(() => {});
  const { ok, status } = response;
  const hides = shouldHideToolContents(c.get('identity').only);
  if (ok || (!hides && (status !== 400 || tools.length === 0))) return response;
  const headers = new Headers(response.headers);
  headers.delete('content-length');
  const text = await response.text();
  return new Response(hides ? redactError(parseJsonObject(text) ?? {}) : addToolNameToErrorText(text, tools), {
    status,
    headers,
  });
}

/** @returns the JSON text of an error, with the name of the tool that its words number */
function addToolNameToErrorText(text: string, tools: readonly unknown[]): string {
  const body = parseJsonObject(text);
  const { error } = body ?? {};
  if (!isObject(error)) return text;
  const message = addToolNameToMessage(toJsonText(error.message), tools);
  return message === error.message ? text : JSON.stringify({ ...body, error: { ...error, message } });
}
