/** The Worker's side of a conversation: calls its object, and carries the answer to the caller. */
import type { Context } from 'hono';
import { basePath } from 'hono/route';
import type { AppEnv } from '../../auth/context.ts';
import { type PlainHeaders, toUpstreamHeaders } from '../../claude/headers.ts';
import { queryOf } from '../../claude/relay.ts';
import { checkRequestFields, readRequestField } from '../../claude/request/all-fields.ts';
import type { RequestFieldValues } from '../../claude/request/field-definition.ts';
import { createUpstreamKey, endUserOf, withUserId } from '../../claude/request/user-id.ts';
import { getMessageDefaults, type MessageDefaults } from '../../config/message-defaults.ts';
import { isOverloaded, ObjectUnreachableError } from '../../durable/call-object.ts';
import { getConversationStub } from '../../durable/stubs.ts';
import { validateDeliverUrl } from '../../kit/delivery/deliver-event.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { createPieceStream } from '../../kit/http/body-pieces.ts';
import { decoder, sha256Hex } from '../../kit/http/bytes.ts';
import { ApiError, invalidRequest } from '../../kit/http/errors.ts';
import { LongBody } from '../../kit/http/long-body.ts';
import { removeAmbiguity } from '../../kit/http/read-json.ts';
import { validate } from '../../kit/http/validate.ts';
import { endHeaders, logOutcome } from '../../money/admission/answer-end.ts';
import { checkRun } from '../../registry/tools/check-tools.ts';
import { checkConversationAllowed, guard, resolveRequestedAgent } from '../history/guard.ts';
import { damageOf } from '../history/storage/damaged-row.ts';
import type { PackedAnswer, TurnAnswer, WireError } from '../views/turn-answer.ts';
import type { CountedPrompt, EdgeOptions, Result, RpcText, TurnRequest } from './contract.ts';
import { conversationRequest, SUBAGENT_ID } from './conversations.schema.ts';
import { unpack } from './rpc-response.ts';
import { eventStreamHeaders, streamTurn } from './turn-stream.ts';

/** The most bytes that go in a call to an object. (The platform's limit is 32 MB.) A longer body goes as a stream. */
const MAX_CALL_BYTES = 8 * 1024 * 1024;
const MAX_KEY_CHARACTERS = 256;
const RETRY_WITHOUT_BACKGROUND =
  'retry: it is for a turn in the background. Send `background` with it, or leave it out.';
const TWO_HISTORIES = 'thread: not allowed with conversation: each keeps the history by itself. Send one of the two.';

/**
 * Has a conversation's object answer a Messages request.
 *
 * @throws ApiError as the object says, or 503 while it cannot be reached
 */
export async function proxyTurn(
  c: Context<AppEnv>,
  body: JsonBody,
  id: string,
  streamByDefault: boolean,
): Promise<Response> {
  const identity = c.get('identity');
  const entry = c.get('entry');
  entry.line.conversation = id;
  refuseSubagent(id);
  checkConversationAllowed(identity, id);
  const isBound = identity.only !== undefined;
  const caller = isBound ? guard().filterHeaders(c.req.raw.headers) : c.req.raw.headers;
  if (isBound) body = guard().filterBody(body);
  const fields = validate(conversationRequest, body.json);
  if ((fields.thread ?? null) !== null) throw invalidRequest(TWO_HISTORIES);
  checkRun(fields, identity, c.get('settings'));
  checkRequestFields(caller, body.json);
  const memberOf = <Name extends keyof RequestFieldValues>(name: Name) => readRequestField(name, caller, body.json);
  const asked: EdgeOptions = {
    background: memberOf('background'),
    retry: memberOf('retry'),
    deliver_url: memberOf('deliver_url'),
    show: memberOf('show'),
    prefix: memberOf('prefix'),
    ...resolveRequestedAgent(identity, memberOf('agent')),
    model: memberOf('model'),
    fallback_models: memberOf('fallback_models'),
    defaults: getMessageDefaults(identity, c.get('settings'), { isShort: streamByDefault, body: body.json }),
  };
  const { background = false, deliver_url: deliverUrl } = asked;
  if (asked.retry && !background) throw invalidRequest(RETRY_WITHOUT_BACKGROUND);
  const { TURN_DELIVER_URL } = c.get('settings');
  if (deliverUrl !== undefined) validateDeliverUrl(deliverUrl, TURN_DELIVER_URL, c.get('settings'));
  // A turn in the background runs like a stream whose reader has left.
  const stream = background || (fields.stream === undefined ? streamByDefault : fields.stream === true);
  const place = { account: identity.account, id };
  const request: Omit<TurnRequest, 'body'> = {
    place,
    call: {
      id: c.get('requestId'),
      route: 'messages',
      hash: await sha256Hex(body.bytes),
      key: idempotencyKeyOf(caller),
      retried: Number(c.req.raw.headers.get('x-stainless-retry-count')) >= 1,
      again: false,
      stream,
    },
    caller: { ...identity, user: await endUserOf(body) },
    asked,
    headers: await forwardedHeaders(c, caller),
    query: isBound ? '' : queryOf(c.req.raw.url),
  };
  const whole = await withUserId(removeAmbiguity(body, 'everywhere'), c.get('settings'), identity.account);
  const answer = await callTurn(c, request, whole);
  if (answer.kind === 'error') throw apiErrorOf(c, answer.error);
  const headers: Record<string, string> = { ...answer.headers, 'sluice-turn': answer.turn };
  entry.line.agent = headers['sluice-agent'];
  entry.line.model_chosen = headers['sluice-model-chosen'];
  // Where the agent chooses, the body's model has no effect.
  const model = entry.line.model_chosen?.split(';', 1)[0] ?? fields.model;
  entry.line.model = typeof model === 'string' ? model.slice(0, 128) : undefined;
  if (answer.kind === 'stream') {
    return streamTurn(c, answer, headers, logOutcome(c), () => callRaw(c, id, (object) => object.wake()));
  }
  const { outcome, nanodollars, budget } = answer.trailer ?? {};
  if (outcome) logOutcome(c)(outcome, nanodollars);
  if (answer.kind === 'ended') return new Response(answer.events, { headers: eventStreamHeaders(headers) });
  // It would name the model of the agent.
  if (isBound) delete headers['sluice-hint'];
  if (answer.status < 300) Object.assign(headers, endHeaders(undefined, nanodollars, budget));
  headers['content-type'] = 'application/json';
  if (background && headers.location !== undefined) headers.location = mountedPath(c, headers.location);
  return new Response(answer.body, { status: answer.status, headers });
}

/** @throws ApiError 400 for the conversation of a subagent: only the run that has called the subagent may go on with it */
export function refuseSubagent(id: string): void {
  if (!id.startsWith(SUBAGENT_ID)) return;
  throw invalidRequest(
    `conversation: ${SUBAGENT_ID}… is a subagent’s, which answers to the run that has called it. To go on from it, send POST /conversations/${id}/fork first.`,
  );
}

/** A call of one method of a conversation's object. */
export type ConversationCall = (object: ReturnType<typeof getConversationStub>) => PromiseLike<unknown>;

/**
 * Calls a conversation of the caller's own account, or of the one that is named.
 *
 * @throws ApiError as the object says; 503 while it cannot be reached
 */
export async function callConversation<T = RpcText>(
  c: Context<AppEnv>,
  id: string,
  method: ConversationCall,
  account?: string,
): Promise<T> {
  c.get('entry').line.conversation = id;
  const result = await callRaw<Result<T>>(c, id, method, account);
  if (!result.ok) throw apiErrorOf(c, result.error);
  return result.value;
}

/**
 * Calls a method of a conversation that does not return a `Result`.
 *
 * @throws ApiError 503 while its object cannot be reached; 500 for what is damaged
 */
export async function callRaw<T>(
  c: Context<AppEnv>,
  id: string,
  method: ConversationCall,
  account = c.get('identity').account,
): Promise<T> {
  try {
    return (await method(getConversationStub(c.env, c.get('settings'), { account, id }))) as T;
  } catch (thrown) {
    throw damageOf(thrown) ?? new ObjectUnreachableError('conversation', thrown);
  }
}

/** Calls the object, and again if the call was lost. The second call attaches to the turn that the first one began. */
async function callTurn(
  c: Context<AppEnv>,
  { call, ...request }: Omit<TurnRequest, 'body'>,
  body: JsonBody,
): Promise<TurnAnswer> {
  return await callWithRetry(async (isResent) =>
    unpack(
      await callRaw<PackedAnswer>(c, request.place.id, (object) =>
        object.turn(JSON.stringify({ ...request, call: { ...call, again: isResent } }), toRpcBody(body)),
      ),
    ),
  );
}

/** Makes a call, and makes it again if its object was not reached, or broke. @throws what the last call throws */
export async function callWithRetry<T>(call: (isResent: boolean) => Promise<T>): Promise<T> {
  try {
    return await call(false);
  } catch (thrown) {
    if (!(thrown instanceof ObjectUnreachableError) || isOverloaded(thrown.cause)) throw thrown;
    return await call(true);
  }
}

/**
 * @returns the body of a token count for a conversation's next prompt, as a turn would send it, and its agent's betas; undefined
 *   if the conversation does not exist yet
 * @throws ApiError as the object says, or 503 while it cannot be reached
 */
export async function fetchCountedPrompt(
  c: Context<AppEnv>,
  caller: Headers,
  request: JsonBody,
  { id, defaults }: { id: string; defaults: MessageDefaults | undefined },
): Promise<{ body: JsonBody; betas: readonly string[] | undefined } | undefined> {
  c.get('entry').line.conversation = id;
  const identity = c.get('identity');
  checkConversationAllowed(identity, id);
  const prefix = readRequestField('prefix', caller, request.json);
  const asked = {
    prefix,
    ...resolveRequestedAgent(identity, readRequestField('agent', caller, request.json)),
    defaults,
  };
  const place = { account: identity.account, id };
  const prompt = await callRaw<CountedPrompt | undefined>(c, id, (object) =>
    object.prompt({ place, caller: identity, asked, body: toRpcBody(request) }),
  );
  if (!prompt) return undefined;
  if (!prompt.ok) throw apiErrorOf(c, prompt.error);
  const bytes = new Uint8Array(await new Response(prompt.value).arrayBuffer());
  const text = decoder.decode(bytes);
  return { body: { bytes, text, json: JSON.parse(text) as Record<string, unknown> }, betas: prompt.betas };
}

/** @returns a body for a call to an object: as text, which costs less than bytes, or as a stream if it is long. */
function toRpcBody(body: JsonBody): TurnRequest['body'] {
  const { bytes } = body;
  if (bytes.length > MAX_CALL_BYTES) return createPieceStream([bytes]);
  return body instanceof LongBody ? decoder.decode(bytes) : body.text;
}

/** @returns an object's error as an `ApiError` that the app can throw. */
export function apiErrorOf(c: Context<AppEnv>, error: WireError): ApiError {
  const { type, message, headers } = error;
  const { location } = headers;
  if (location === undefined) return new ApiError(type, message, error);
  // The object does not know the path under which the app is mounted.
  const reached = mountedPath(c, location);
  return new ApiError(type, message.replaceAll(location, reached), {
    ...error,
    headers: { ...headers, location: reached },
  });
}

/** @returns a path of this edge as callers reach it, even if the app is mounted in another one. */
export function mountedPath(c: Context<AppEnv>, path: string): string {
  return basePath(c).replace(/\/$/, '') + path;
}

function idempotencyKeyOf(caller: Headers): string | undefined {
  const key = caller.get('idempotency-key')?.trim() || undefined;
  if (key !== undefined && key.length > MAX_KEY_CHARACTERS) {
    throw invalidRequest(`idempotency-key: must have at most ${MAX_KEY_CHARACTERS} characters.`);
  }
  return key;
}

/** @returns the caller's headers that go up, without any credential. */
async function forwardedHeaders(c: Context<AppEnv>, caller: Headers): Promise<PlainHeaders> {
  const headers = toUpstreamHeaders(caller, '', c.get('settings').FORWARD_HEADERS);
  delete headers['x-api-key'];
  const key = await createUpstreamKey(caller, c.get('identity').account);
  if (key !== undefined) headers['idempotency-key'] = key;
  const simulated = caller.get('sluice-simulate');
  if (simulated !== null) headers['sluice-simulate'] = simulated;
  return headers;
}
