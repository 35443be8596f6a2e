/** The Worker's side of a conversation: calls its object, and carries the answer to the caller. */
import type { Context } from 'hono';
import { basePath } from 'hono/route';
import type { AppEnv } from '../../auth/context.ts';
import { type PlainHeaders, toUpstreamHeaders } from '../../claude/headers.ts';
import { getQueryString } from '../../claude/relay.ts';
import { checkRequestFields, readRequestField } from '../../claude/request/all-fields.ts';
import type { RequestFieldValues } from '../../claude/request/field-definition.ts';
import { applyUserIdSetting, computeEndUserHash, createUpstreamKey } from '../../claude/request/user-id.ts';
import { getMessageDefaults, type MessageDefaults } from '../../config/message-defaults.ts';
import { isOverloadedObjectError, ObjectUnreachableError } from '../../durable/call-object.ts';
import { getConversationStub } from '../../durable/stubs.ts';
import { validateDeliverUrl } from '../../kit/delivery/deliver-event.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { createPieceStream } from '../../kit/http/body-pieces.ts';
import { decoder, sha256Hex } from '../../kit/http/bytes.ts';
import { ApiError, createInvalidRequestError } from '../../kit/http/errors.ts';
import { LongStringBody } from '../../kit/http/long-body.ts';
import { removeRepeatedKeysFromBody } from '../../kit/http/read-json.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import type * as z from '../../kit/http/zod.ts';
import { createEndHeaders, createOutcomeLogger } from '../../money/admission/answer-end.ts';
import { validateRunTools } from '../../registry/tools/check-tools.ts';
import { checkConversationAllowed, getRestrictedTokenGuard, resolveRequestedAgent } from '../history/guard.ts';
import { findDamageInError } from '../history/storage/damaged-row.ts';
import type { PackedTurnAnswer, SerializedApiError, TurnAnswer } from '../views/turn-answer.ts';
import type { EdgeRequestOptions, PromptToCount, RpcResult, RpcText, TurnRequest } from './contract.ts';
import { conversationRequest, SUBAGENT_ID } from './conversations.schema.ts';
import { unpackTurnAnswer } from './rpc-response.ts';
import { createEventStreamHeaders, streamTurn } from './turn-stream.ts';

/** The most bytes that go in a call to an object. (The platform's limit is 32 MB.) A longer body goes as a stream. */
const MAX_CALL_BYTES = 8 * 1024 * 1024;
const MAX_KEY_CHARACTERS = 256;
const RETRY_WITHOUT_BACKGROUND =
  'retry: supported only with `background`. Send `background: true`, or remove this field.';
const TWO_HISTORIES =
  'thread: not supported with `conversation`, because both store the history. Send only one of them.';

/** A request to a conversation, without the members that its restricted token may not send. */
interface AllowedRequest {
  headers: Headers;
  body: JsonBody;
  fields: z.output<typeof conversationRequest>;
}

/**
 * Sends a Messages request to the conversation's object.
 *
 * @throws ApiError that the object returns, or 503 if it cannot be reached
 */
export async function proxyTurn(
  c: Context<AppEnv>,
  body: JsonBody,
  id: string,
  isSluiceRoute: boolean,
): Promise<Response> {
  const identity = c.get('identity');
  c.get('entry').line.conversation = id;
  rejectSubagentConversation(id);
  checkConversationAllowed(identity, id);
  const allowed = validateTurnRequest(c, body);
  const request = await createTurnRequest(c, id, allowed, isSluiceRoute);
  const sent = await applyUserIdSetting(
    removeRepeatedKeysFromBody(allowed.body, 'everywhere'),
    c.get('settings'),
    identity.account,
  );
  const answer = await callTurnWithRetry(c, request, sent);
  if (answer.kind === 'error') throw toAppApiError(c, answer.error);
  return createTurnResponse(c, request, allowed.fields.model, answer);
}

/**
 * Removes members that a restricted token may not send, and validates the others. @throws ApiError 400 that explains what is
 * wrong
 */
function validateTurnRequest(c: Context<AppEnv>, sent: JsonBody): AllowedRequest {
  const identity = c.get('identity');
  const guard = identity.only !== undefined ? getRestrictedTokenGuard() : undefined;
  const headers = guard ? guard.filterRequestHeaders(c.req.raw.headers) : c.req.raw.headers;
  const body = guard ? guard.filterRequestBody(sent) : sent;
  const fields = validateBySchema(conversationRequest, body.json);
  if ((fields.thread ?? null) !== null) throw createInvalidRequestError(TWO_HISTORIES);
  validateRunTools(fields, identity, c.get('settings'));
  checkRequestFields(headers, body.json);
  return { headers, body, fields };
}

/**
 * @returns the request's parameters for the edge, from its body and its headers. @throws ApiError 400 that explains what is
 *   wrong
 */
function readEdgeOptions(
  c: Context<AppEnv>,
  { headers, body }: AllowedRequest,
  isSluiceRoute: boolean,
): EdgeRequestOptions {
  const identity = c.get('identity');
  const settings = c.get('settings');
  const readField = <Name extends keyof RequestFieldValues>(name: Name) => readRequestField(name, headers, body.json);
  const options: EdgeRequestOptions = {
    background: readField('background'),
    retry: readField('retry'),
    deliver_url: readField('deliver_url'),
    show: readField('show'),
    prefix: readField('prefix'),
    ...resolveRequestedAgent(identity, readField('agent')),
    model: readField('model'),
    fallback_models: readField('fallback_models'),
    defaults: getMessageDefaults(identity, settings, { isSluiceRoute, body: body.json }),
  };
  if (options.retry && !options.background) throw createInvalidRequestError(RETRY_WITHOUT_BACKGROUND);
  if (options.deliver_url !== undefined) validateDeliverUrl(options.deliver_url, settings.TURN_DELIVER_URL, settings);
  return options;
}

/** @returns the request for the conversation's object, without its body */
async function createTurnRequest(
  c: Context<AppEnv>,
  id: string,
  allowed: AllowedRequest,
  isSluiceRoute: boolean,
): Promise<Omit<TurnRequest, 'body'>> {
  const { headers, body, fields } = allowed;
  const identity = c.get('identity');
  const edgeOptions = readEdgeOptions(c, allowed, isSluiceRoute);
  const wantsStream = fields.stream === undefined ? isSluiceRoute : fields.stream === true;
  return {
    conversationKey: { account: identity.account, id },
    call: {
      id: c.get('requestId'),
      route: 'messages',
      hash: await sha256Hex(body.bytes),
      key: getIdempotencyKey(headers),
      isClientRetry: Number(c.req.raw.headers.get('x-stainless-retry-count')) >= 1,
      isResent: false,
      // Run a background turn as a stream without a reader: its events are stored, so that a client can resume it.
      stream: edgeOptions.background || wantsStream,
    },
    caller: { ...identity, user: await computeEndUserHash(body) },
    edgeOptions,
    headers: await collectForwardedHeaders(c, headers),
    query: identity.only ? '' : getQueryString(c.req.raw.url),
  };
}

/**
 * @param model the model that the body names
 * @returns the response to the caller, with its headers. Adds the turn's usage to the log line
 */
function createTurnResponse(
  c: Context<AppEnv>,
  { conversationKey, edgeOptions, caller }: Omit<TurnRequest, 'body'>,
  model: unknown,
  answer: Exclude<TurnAnswer, { kind: 'error' }>,
): Response {
  const { line } = c.get('entry');
  const headers: Record<string, string> = { ...answer.headers, 'sluice-turn': answer.turn };
  line.agent = headers['sluice-agent'];
  line.model_chosen = headers['sluice-model-chosen'];
  // Log the model that the agent chose: in that case, the model in the body has no effect.
  const usedModel = line.model_chosen?.split(';', 1)[0] ?? model;
  line.model = typeof usedModel === 'string' ? usedModel.slice(0, 128) : undefined;
  if (answer.kind === 'stream') {
    return streamTurn(c, answer, headers, createOutcomeLogger(c), () =>
      callConversationWithoutResult(c, conversationKey.id, (object) => object.endInterruptedTurns()),
    );
  }
  const { outcome, nanodollars, budget } = answer.trailer ?? {};
  if (outcome) createOutcomeLogger(c)(outcome, nanodollars);
  if (answer.kind === 'complete_stream')
    return new Response(answer.events, { headers: createEventStreamHeaders(headers) });
  // Remove the hint for a restricted token: it would reveal the agent's model.
  if (caller.only !== undefined) delete headers['sluice-hint'];
  if (answer.status < 300) Object.assign(headers, createEndHeaders(undefined, nanodollars, budget));
  headers['content-type'] = 'application/json';
  if (edgeOptions.background && headers.location !== undefined) headers.location = addMountPath(c, headers.location);
  return new Response(answer.body, { status: answer.status, headers });
}

/** @throws ApiError 400 for the conversation of a subagent: only the run that has called the subagent may continue it */
export function rejectSubagentConversation(id: string): void {
  if (!id.startsWith(SUBAGENT_ID)) return;
  throw createInvalidRequestError(
    `conversation: ${SUBAGENT_ID}… belongs to a subagent, which accepts messages only from its run. To continue it, send POST /conversations/${id}/fork first.`,
  );
}

/** A call of one method of a conversation's object. */
export type ConversationMethodCall = (object: ReturnType<typeof getConversationStub>) => PromiseLike<unknown>;

/**
 * Calls a conversation of the caller's own account, or of the account that is named.
 *
 * @throws ApiError that the object returns; 503 if it cannot be reached
 */
export async function callConversationMethod<T = RpcText>(
  c: Context<AppEnv>,
  id: string,
  method: ConversationMethodCall,
  account?: string,
): Promise<T> {
  c.get('entry').line.conversation = id;
  const result = await callConversationWithoutResult<RpcResult<T>>(c, id, method, account);
  if (!result.ok) throw toAppApiError(c, result.error);
  return result.value;
}

/**
 * Calls a method of a conversation that does not return a `Result`.
 *
 * @throws ApiError 503 if its object cannot be reached; 500 for damaged rows
 */
export async function callConversationWithoutResult<T>(
  c: Context<AppEnv>,
  id: string,
  method: ConversationMethodCall,
  account = c.get('identity').account,
): Promise<T> {
  try {
    return (await method(getConversationStub(c.env, c.get('settings'), { account, id }))) as T;
  } catch (thrown) {
    throw findDamageInError(thrown) ?? new ObjectUnreachableError('conversation', thrown);
  }
}

/** Calls the object, and again if the call was lost. The second call attaches to the turn that the first one began. */
async function callTurnWithRetry(
  c: Context<AppEnv>,
  { call, ...request }: Omit<TurnRequest, 'body'>,
  body: JsonBody,
): Promise<TurnAnswer> {
  return await callAgainIfLost(async (isResent) =>
    unpackTurnAnswer(
      await callConversationWithoutResult<PackedTurnAnswer>(c, request.conversationKey.id, (object) =>
        object.handleTurn(JSON.stringify({ ...request, call: { ...call, isResent } }), toRpcBody(body)),
      ),
    ),
  );
}

/** Makes a call, and repeats it if its object was not reached or broke. @throws the error of the last call */
export async function callAgainIfLost<T>(call: (isResent: boolean) => Promise<T>): Promise<T> {
  try {
    return await call(false);
  } catch (thrown) {
    if (!(thrown instanceof ObjectUnreachableError) || isOverloadedObjectError(thrown.cause)) throw thrown;
    return await call(true);
  }
}

/**
 * @returns the body to count for a conversation's next prompt, as a turn would send it, and its agent's betas; undefined if the
 *   conversation does not exist yet
 * @throws ApiError that the object returns, or 503 if it cannot be reached
 */
export async function fetchPromptToCount(
  c: Context<AppEnv>,
  caller: Headers,
  request: JsonBody,
  { id, defaults }: { id: string; defaults: MessageDefaults | undefined },
): Promise<{ body: JsonBody; betas: readonly string[] | undefined } | undefined> {
  c.get('entry').line.conversation = id;
  const identity = c.get('identity');
  checkConversationAllowed(identity, id);
  const prefix = readRequestField('prefix', caller, request.json);
  const edgeOptions = {
    prefix,
    ...resolveRequestedAgent(identity, readRequestField('agent', caller, request.json)),
    defaults,
  };
  const conversationKey = { account: identity.account, id };
  const prompt = await callConversationWithoutResult<PromptToCount | undefined>(c, id, (object) =>
    object.prepareNextPrompt({ conversationKey, caller: identity, edgeOptions, body: toRpcBody(request) }),
  );
  if (!prompt) return undefined;
  if (!prompt.ok) throw toAppApiError(c, prompt.error);
  const bytes = new Uint8Array(await new Response(prompt.value).arrayBuffer());
  const text = decoder.decode(bytes);
  return { body: { bytes, text, json: JSON.parse(text) as Record<string, unknown> }, betas: prompt.betas };
}

/**
 * @returns a body for a call to an object: as text, which costs less than bytes, or as a stream if it is long. The `text` of a
 *   `LongStringBody` contains placeholders, so its bytes are decoded instead
 */
function toRpcBody(body: JsonBody): TurnRequest['body'] {
  const { bytes } = body;
  if (bytes.length > MAX_CALL_BYTES) return createPieceStream([bytes]);
  return body instanceof LongStringBody ? decoder.decode(bytes) : body.text;
}

/** @returns an object's error as an `ApiError` that the app can throw. */
export function toAppApiError(c: Context<AppEnv>, error: SerializedApiError): ApiError {
  const { type, message, headers } = error;
  const { location } = headers;
  if (location === undefined) return new ApiError(type, message, error);
  // Add the mount path to the address: the object does not know the path under which the app is mounted.
  const reached = addMountPath(c, location);
  return new ApiError(type, message.replaceAll(location, reached), {
    ...error,
    headers: { ...headers, location: reached },
  });
}

/** @returns a path of this edge as callers reach it, even if the app is mounted in another one. */
export function addMountPath(c: Context<AppEnv>, path: string): string {
  return basePath(c).replace(/\/$/, '') + path;
}

function getIdempotencyKey(caller: Headers): string | undefined {
  const key = caller.get('idempotency-key')?.trim() || undefined;
  if (key !== undefined && key.length > MAX_KEY_CHARACTERS) {
    throw createInvalidRequestError(`idempotency-key: must have at most ${MAX_KEY_CHARACTERS} characters.`);
  }
  return key;
}

/** @returns the caller's headers that are sent, without any credential. */
async function collectForwardedHeaders(c: Context<AppEnv>, caller: Headers): Promise<PlainHeaders> {
  const headers = toUpstreamHeaders(caller, '', c.get('settings').FORWARD_HEADERS);
  delete headers['x-api-key'];
  const key = await createUpstreamKey(caller, c.get('identity').account);
  if (key !== undefined) headers['idempotency-key'] = key;
  const simulated = caller.get('sluice-simulate');
  if (simulated !== null) headers['sluice-simulate'] = simulated;
  return headers;
}
