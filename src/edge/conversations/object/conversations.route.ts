import type { Context } from 'hono';
import { hasScope } from '../../auth/authenticate.ts';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import { route } from '../../auth/route.ts';
import { readRequestField } from '../../claude/request/all-fields.ts';
import { findIds, mayContainIds } from '../../claude/request/referenced-ids.ts';
import type { CreatedId } from '../../claude/usage/created-ids.ts';
import { getMessageDefaults, type MessageDefaults } from '../../config/message-defaults.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { ApiError, invalidRequest } from '../../kit/http/errors.ts';
import { createList, readPage } from '../../kit/http/page.ts';
import { removeAmbiguity } from '../../kit/http/read-json.ts';
import { validate } from '../../kit/http/validate.ts';
import { parseMemberTexts } from '../../kit/json/edit.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { admitFree } from '../../money/admission/admit-free.ts';
import { checkOwned } from '../../money/admission/check-owned.ts';
import { pauseAfterBody, readJsonToStore } from '../../money/admission/read-body.ts';
import { accountOf, callAccount } from '../../money/contracts/call-account.ts';
import { checkRun } from '../../registry/tools/check-tools.ts';
import {
  checkConversationAllowed,
  guard,
  resolveRequestedAgent,
  restrictedCaller,
  restrictedView,
} from '../history/guard.ts';
import type { CreatedFields, ResumeResult, RpcText } from './contract.ts';
import {
  conversationsQuery,
  createConversation,
  historyQuery,
  isConversationId,
  patchConversation,
  resumeQuery,
  rewindRequest,
  stopQuery,
} from './conversations.schema.ts';
import { noConversation, toRpcText } from './rpc-response.ts';
import {
  apiErrorOf,
  type ConversationCall,
  callConversation,
  callRaw,
  callWithRetry,
  mountedPath,
  refuseSubagent,
} from './turn-proxy.ts';
import { streamTurn } from './turn-stream.ts';

export const CONVERSATION_ROUTES = [
  route('GET /conversations', { needs: 'messages', pages: true, query: conversationsQuery }, async (c, { query }) => {
    const page = { ...readPage(c.req.query()), ...validate(query, c.req.query()) };
    return c.json(await accountOf(c, c.get('identity').account)((account) => account.conversations(page)));
  }),
  route(
    'POST /conversations',
    { needs: 'messages', restrictedClassifier: true, body: createConversation },
    createFromRequest,
  ),
  route('GET /conversations/:id', { needs: 'messages' }, async (c) =>
    json(await callConversation(c, idOf(c), (object) => object.read())),
  ),
  route('DELETE /conversations/:id', { needs: 'messages' }, async (c) => {
    const id = idOf(c);
    const place = { account: c.get('identity').account, id };
    const erase = () => callRaw<boolean>(c, id, (object) => object.erase(place));
    // A damaged table breaks the object that first writes to it. If a call is repeated, the one before may have deleted.
    if (!(await callWithRetry(async (again) => (await erase()) || again))) throw noConversation();
    return c.json({ type: 'conversation_deleted', id });
  }),
  route('PATCH /conversations/:id', { needs: 'messages', body: patchConversation }, async (c, request) => {
    const body = await bodyOf(c);
    const patch = validate(request.body, body.json);
    checkRetention(c, patch.retention_seconds);
    const id = idOf(c);
    const quotaStatus = await admitFree(c, { conversation: id, bytes: body.bytes.length });
    return json(await callReservingStorage(c, id, (object) => object.patch(patch)), 200, quotaStatus);
  }),
  route(
    'GET /conversations/:id/messages',
    { needs: 'messages', restrictedClassifier: true, pages: true, query: historyQuery },
    messagesPage,
  ),
  route('GET /conversations/:id/turns/:turn', { needs: 'messages' }, async (c) =>
    json(await callConversation<RpcText>(c, idOf(c), (object) => object.turnReport(c.req.param('turn')))),
  ),
  route('DELETE /conversations/:id/turns/:turn', { needs: 'messages' }, async (c) =>
    json(await callConversation<RpcText>(c, idOf(c), (object) => object.cancel(c.req.param('turn')))),
  ),
  route('GET /conversations/:id/stream', { needs: 'messages', restrictedClassifier: true, query: resumeQuery }, resume),
  route(
    'POST /conversations/:id/stop',
    { needs: 'messages', restrictedClassifier: true, query: stopQuery },
    async (c, { query }) => {
      const only = validate(query, c.req.query());
      const id = restrictedIdOf(c);
      return json(await callConversation(c, id, (object) => object.stop(only, restrictedCaller(c.get('identity')))));
    },
  ),
  route('POST /conversations/:id/rewind', { needs: 'messages', body: rewindRequest }, async (c, { body }) => {
    const { before } = validate(body, (await bodyOf(c)).json);
    const id = idOf(c);
    refuseSubagent(id);
    return json(await callConversation(c, id, (object) => object.rewind(before)));
  }),
];

/** @returns the members of a new conversation, with the defaults that neither they nor their prefix or agent may decide */
function withStoredDefaults<Fields extends Pick<CreatedFields, 'agent' | 'prefix' | 'model' | 'max_tokens'>>(
  fields: Fields,
  { agent, model, max_tokens }: MessageDefaults = {},
): Fields {
  if (fields.agent !== undefined || fields.prefix !== undefined) return fields;
  return { ...removeUndefined({ agent, model, max_tokens }), ...removeUndefined(fields) } as Fields;
}

/** Makes a conversation, perhaps with what has been said elsewhere. */
async function createFromRequest(c: Context<AppEnv>): Promise<Response> {
  const body = await bodyOf(c);
  const identity = c.get('identity');
  if (identity.only) guard().checkNewConversation(Object.keys(body.json));
  // These go to the object as texts, because an object's call cannot carry deeply nested objects.
  const { system: _, messages = [], tools, ...asked } = validate(createConversation, body.json);
  const defaults = getMessageDefaults(identity, c.get('settings'), { isShort: true, body: asked });
  const fields = withStoredDefaults(asked, defaults);
  checkRun({ tools }, identity, c.get('settings'));
  const texts = parseMemberTexts(body.text);
  await pauseAfterBody(body);
  // Later turns only check what is new in them. Of rows, only what is kept counts.
  const answers = messages.flatMap(({ status, content }) => (status === 'refused' ? [] : [content]));
  await checkOwned(
    contextOf(c),
    mayContainIds(body) ? findIds({ ...body.json, messages: answers }) : [],
    notOwnedError,
  );
  const id = fields.id ?? newConversationId();
  checkConversationAllowed(identity, id);
  checkRetention(c, fields.retention_seconds);
  const quotaStatus = await admitFree(c, { conversation: id, bytes: body.bytes.length });
  const place = { account: identity.account, id };
  const members: CreatedFields = { ...fields, ...resolveRequestedAgent(identity, fields.agent), caller: identity };
  const hasPrefix = fields.prefix !== undefined || fields.agent !== undefined;
  if (!hasPrefix && !texts.has('system') && defaults?.system !== undefined) {
    texts.set('system', JSON.stringify(defaults.system));
  }
  const textOf = (name: 'system' | 'tools' | 'messages') => {
    const text = texts.get(name);
    return text === undefined ? {} : { [name]: toRpcText(text) };
  };
  const created = await callReservingStorage(c, id, (object) =>
    object.create(place, members, { ...textOf('system'), ...textOf('tools'), ...textOf('messages') }),
  );
  return json(identity.only ? restrictedView({ id }) : created, 201, quotaStatus);
}

const MAX_REPORTED_IDS = 20;

function notOwnedError(unknown: readonly CreatedId[]): ApiError {
  const named = unknown.slice(0, MAX_REPORTED_IDS).map(({ kind, id }) => `${kind} ${id.slice(0, 128)}`);
  const more = unknown.length > MAX_REPORTED_IDS ? ` and ${unknown.length - MAX_REPORTED_IDS} more` : '';
  return invalidRequest(
    `This account does not have ${named.join(', ')}${more}. Remove the blocks that name them, or upload the files again and name the new ids.`,
  );
}

async function messagesPage(c: Context<AppEnv>): Promise<Response> {
  const { pending, view, if_absent } = validate(historyQuery, c.req.query());
  const page = { ...readPage(c.req.query()), pending: pending === 'true', view };
  const mayBeAbsent = if_absent && page.after_id === undefined && page.before_id === undefined;
  const id = restrictedIdOf(c);
  const by = restrictedCaller(c.get('identity'));
  // What the edge and the model say to each other is no business of a page.
  if (by) page.view = 'shown';
  const body = await callConversation<ReadableStream<Uint8Array>>(c, id, (object) => object.messages(page, by)).catch(
    (thrown: unknown) => {
      if (mayBeAbsent && thrown instanceof ApiError && thrown.status === 404) return undefined;
      throw thrown;
    },
  );
  if (!body) return c.json(createList([], false, String));
  return new Response(body, { headers: { 'content-type': 'application/json' } });
}

async function resume(c: Context<AppEnv>): Promise<Response> {
  const id = restrictedIdOf(c);
  const { after: queried, show, if_absent } = validate(resumeQuery, c.req.query());
  const shown = readRequestField('show', c.req.raw.headers, { show });
  const after = c.req.header('last-event-id') ?? queried;
  const resumed = await callRaw<ResumeResult>(c, id, (object) =>
    object.resume(after === '' ? undefined : after, restrictedCaller(c.get('identity')), shown),
  );
  switch (resumed.kind) {
    case 'stream': {
      const entry = c.get('entry');
      entry.begin();
      // The cost is logged by the request that began the turn.
      const wake = () => callRaw(c, id, (object) => object.wake());
      return streamTurn(c, resumed, { 'sluice-turn': resumed.turn }, () => entry.end(), wake);
    }
    case 'none':
      return c.body(null, 204);
    case 'gone':
      throw new ApiError(
        'not_found_error',
        `The events of this turn are no longer kept. Read its answer at GET /conversations/${id}/messages.`,
        { status: 410, headers: { location: mountedPath(c, `/conversations/${id}/messages`) } },
      );
    case 'unknown':
      if (if_absent) return c.body(null, 204);
      throw noConversation();
    case 'error':
      throw apiErrorOf(c, resumed.error);
  }
}

/** Calls a method that stores something in the conversation `id`. Releases the reserved storage if the call fails. */
export async function callReservingStorage(
  c: Context<AppEnv>,
  id: string,
  method: ConversationCall,
  called = id,
): Promise<RpcText> {
  try {
    return await callConversation(c, called, method);
  } catch (thrown) {
    c.get('entry').trackWork(callAccount(contextOf(c), (account) => account.releaseStorage(id)));
    throw thrown;
  }
}

/** @throws ApiError 404 for an invalid id, the same as for an unknown one */
export function idOf(c: Context<AppEnv>): string {
  const id = c.req.param('id') ?? '';
  if (!isConversationId(id)) throw noConversation();
  return id;
}

/** The same on a route that is open to restricted tokens. @throws ApiError 403 for one that such a token may not use */
export function restrictedIdOf(c: Context<AppEnv>): string {
  const id = idOf(c);
  checkConversationAllowed(c.get('identity'), id);
  return id;
}

export async function bodyOf(c: Context<AppEnv>): Promise<JsonBody> {
  return removeAmbiguity(await readJsonToStore(c, 'free'), 'everywhere');
}

/** @throws ApiError 400 for a retention longer than the deployment's; an admin may set any */
function checkRetention(c: Context<AppEnv>, seconds: number | null | undefined): void {
  const most = c.get('settings').RETENTION_DAYS * (DAY_MS / 1_000);
  if (typeof seconds !== 'number' || seconds <= most || hasScope(c.get('identity'), 'admin')) return;
  throw invalidRequest(`retention_seconds: Input should be less than or equal to ${most}, as this deployment keeps it`);
}

export function json(text: RpcText, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(text, { status, headers: { ...headers, 'content-type': 'application/json' } });
}

export function newConversationId(): string {
  return `conv_${crypto.randomUUID().replaceAll('-', '')}`;
}
