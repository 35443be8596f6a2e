import type { Context } from 'hono';
import { hasScope } from '../../auth/authenticate.ts';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import { route } from '../../auth/route.ts';
import { readOption } from '../../claude/request/members.ts';
import { idsNamed, mayName } from '../../claude/request/named-ids.ts';
import type { CreatedId } from '../../claude/usage/created-ids.ts';
import { defaultsFor, type MessageDefaults } from '../../config/message-defaults.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { ApiError, invalidRequest } from '../../kit/http/errors.ts';
import { listOf, readPage } from '../../kit/http/page.ts';
import { withOneReading } from '../../kit/http/read-json.ts';
import { validate } from '../../kit/http/validate.ts';
import { memberTexts } from '../../kit/json/edit.ts';
import { withoutUndefined } from '../../kit/json/object.ts';
import { admitFree } from '../../money/admission/admit-free.ts';
import { checkOwned } from '../../money/admission/check-owned.ts';
import { pauseAfterBody, readToStore } from '../../money/admission/read-body.ts';
import { accountOf, callAccount } from '../../money/contracts/call-account.ts';
import { checkRun } from '../../registry/tools/check-tools.ts';
import { agentMeant, boundCaller, guard, refuseOtherConversation, toldToBound } from '../history/guard.ts';
import type { CreatedFields, Resumed, RpcText } from './contract.ts';
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
  callOwn,
  mountedPath,
  orAgain,
  refuseSubagent,
} from './turn-proxy.ts';
import { streamedTurn } from './turn-stream.ts';

export const CONVERSATION_ROUTES = [
  route('GET /conversations', { needs: 'messages', pages: true, query: conversationsQuery }, async (c, { query }) => {
    const page = { ...readPage(c.req.query()), ...validate(query, c.req.query()) };
    return c.json(await accountOf(c, c.get('identity').account)((account) => account.conversations(page)));
  }),
  route('POST /conversations', { needs: 'messages', bound: true, body: createConversation }, createWith),
  route('GET /conversations/:id', { needs: 'messages' }, async (c) =>
    json(await callConversation(c, idOf(c), (object) => object.read())),
  ),
  route('DELETE /conversations/:id', { needs: 'messages' }, async (c) => {
    const id = idOf(c);
    const place = { account: c.get('identity').account, id };
    const erase = () => callOwn<boolean>(c, id, (object) => object.erase(place));
    // A damaged table breaks the object that first writes to it. If a call is repeated, the one before may have deleted.
    if (!(await orAgain(async (again) => (await erase()) || again))) throw noConversation();
    return c.json({ type: 'conversation_deleted', id });
  }),
  route('PATCH /conversations/:id', { needs: 'messages', body: patchConversation }, async (c, request) => {
    const body = await bodyOf(c);
    const patch = validate(request.body, body.json);
    checkRetention(c, patch.retention_seconds);
    const id = idOf(c);
    const quotaStatus = await admitFree(c, { conversation: id, bytes: body.bytes.length });
    return json(await storing(c, id, (object) => object.patch(patch)), 200, quotaStatus);
  }),
  route(
    'GET /conversations/:id/messages',
    { needs: 'messages', bound: true, pages: true, query: historyQuery },
    messagesPage,
  ),
  route('GET /conversations/:id/turns/:turn', { needs: 'messages' }, async (c) =>
    json(await callConversation<RpcText>(c, idOf(c), (object) => object.turnReport(c.req.param('turn')))),
  ),
  route('DELETE /conversations/:id/turns/:turn', { needs: 'messages' }, async (c) =>
    json(await callConversation<RpcText>(c, idOf(c), (object) => object.cancel(c.req.param('turn')))),
  ),
  route('GET /conversations/:id/stream', { needs: 'messages', bound: true, query: resumeQuery }, resume),
  route('POST /conversations/:id/stop', { needs: 'messages', bound: true, query: stopQuery }, async (c, { query }) => {
    const only = validate(query, c.req.query());
    const id = boundIdOf(c);
    return json(await callConversation(c, id, (object) => object.stop(only, boundCaller(c.get('identity')))));
  }),
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
  return { ...withoutUndefined({ agent, model, max_tokens }), ...withoutUndefined(fields) } as Fields;
}

/** Makes a conversation, perhaps with what has been said elsewhere. */
async function createWith(c: Context<AppEnv>): Promise<Response> {
  const body = await bodyOf(c);
  const identity = c.get('identity');
  if (identity.only) guard().checkCreated(Object.keys(body.json));
  // These go to the object as texts, because an object's call cannot carry deeply nested objects.
  const { system: _, messages = [], tools, ...asked } = validate(createConversation, body.json);
  const defaults = defaultsFor(identity, c.get('settings'), { isShort: true, body: asked });
  const fields = withStoredDefaults(asked, defaults);
  checkRun({ tools }, identity, c.get('settings'));
  const texts = memberTexts(body.text);
  await pauseAfterBody(body);
  // Later turns only check what is new in them. Of rows, only what is kept counts.
  const answers = messages.flatMap(({ status, content }) => (status === 'refused' ? [] : [content]));
  await checkOwned(contextOf(c), mayName(body) ? idsNamed({ ...body.json, messages: answers }) : [], notOwned);
  const id = fields.id ?? newConversationId();
  refuseOtherConversation(identity, id);
  checkRetention(c, fields.retention_seconds);
  const quotaStatus = await admitFree(c, { conversation: id, bytes: body.bytes.length });
  const place = { account: identity.account, id };
  const members: CreatedFields = { ...fields, ...agentMeant(identity, fields.agent), caller: identity };
  const hasPrefix = fields.prefix !== undefined || fields.agent !== undefined;
  if (!hasPrefix && !texts.has('system') && defaults?.system !== undefined) {
    texts.set('system', JSON.stringify(defaults.system));
  }
  const textOf = (name: 'system' | 'tools' | 'messages') => {
    const text = texts.get(name);
    return text === undefined ? {} : { [name]: toRpcText(text) };
  };
  const created = await storing(c, id, (object) =>
    object.create(place, members, { ...textOf('system'), ...textOf('tools'), ...textOf('messages') }),
  );
  return json(identity.only ? toldToBound({ id }) : created, 201, quotaStatus);
}

const MOST_IDS_TOLD = 20;

function notOwned(unknown: readonly CreatedId[]): ApiError {
  const named = unknown.slice(0, MOST_IDS_TOLD).map(({ kind, id }) => `${kind} ${id.slice(0, 128)}`);
  const more = unknown.length > MOST_IDS_TOLD ? ` and ${unknown.length - MOST_IDS_TOLD} more` : '';
  return invalidRequest(
    `This account does not have ${named.join(', ')}${more}. Remove the blocks that name them, or upload the files again and name the new ids.`,
  );
}

async function messagesPage(c: Context<AppEnv>): Promise<Response> {
  const { pending, view, if_absent } = validate(historyQuery, c.req.query());
  const page = { ...readPage(c.req.query()), pending: pending === 'true', view };
  const mayBeAbsent = if_absent && page.after_id === undefined && page.before_id === undefined;
  const id = boundIdOf(c);
  const by = boundCaller(c.get('identity'));
  // What the edge and the model say to each other is no business of a page.
  if (by) page.view = 'shown';
  const body = await callConversation<ReadableStream<Uint8Array>>(c, id, (object) => object.messages(page, by)).catch(
    (thrown: unknown) => {
      if (mayBeAbsent && thrown instanceof ApiError && thrown.status === 404) return undefined;
      throw thrown;
    },
  );
  if (!body) return c.json(listOf([], false, String));
  return new Response(body, { headers: { 'content-type': 'application/json' } });
}

async function resume(c: Context<AppEnv>): Promise<Response> {
  const id = boundIdOf(c);
  const { after: queried, show, if_absent } = validate(resumeQuery, c.req.query());
  const shown = readOption('show', c.req.raw.headers, { show });
  const after = c.req.header('last-event-id') ?? queried;
  const resumed = await callOwn<Resumed>(c, id, (object) =>
    object.resume(after === '' ? undefined : after, boundCaller(c.get('identity')), shown),
  );
  switch (resumed.kind) {
    case 'stream': {
      const entry = c.get('entry');
      entry.begin();
      // The cost is logged by the request that began the turn.
      const wake = () => callOwn(c, id, (object) => object.wake());
      return streamedTurn(c, resumed, { 'sluice-turn': resumed.turn }, () => entry.end(), wake);
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
export async function storing(c: Context<AppEnv>, id: string, method: ConversationCall, called = id): Promise<RpcText> {
  try {
    return await callConversation(c, called, method);
  } catch (thrown) {
    c.get('entry').during(callAccount(contextOf(c), (account) => account.storesNothing(id)));
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
export function boundIdOf(c: Context<AppEnv>): string {
  const id = idOf(c);
  refuseOtherConversation(c.get('identity'), id);
  return id;
}

export async function bodyOf(c: Context<AppEnv>): Promise<JsonBody> {
  return withOneReading(await readToStore(c, 'free'), 'everywhere');
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
