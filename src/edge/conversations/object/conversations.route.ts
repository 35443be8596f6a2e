import type { Context } from 'hono';
import { hasScope } from '../../auth/authenticate.ts';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import { defineRoute } from '../../auth/route.ts';
import { readRequestField } from '../../claude/request/all-fields.ts';
import { couldContainResourceIds, findResourceIdsInRequest } from '../../claude/request/referenced-ids.ts';
import type { CreatedId } from '../../claude/usage/created-ids.ts';
import { getMessageDefaults, type MessageDefaults } from '../../config/message-defaults.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { ApiError, createInvalidRequestError } from '../../kit/http/errors.ts';
import { createListResponse, parsePageQuery } from '../../kit/http/page.ts';
import { removeRepeatedKeysFromBody } from '../../kit/http/read-json.ts';
import { requireWellFormedStrings } from '../../kit/http/require-well-formed.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { parseMemberTexts } from '../../kit/json/edit.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { admitRequestWithoutCost } from '../../money/admission/admit-free.ts';
import { requireResourcesOwnedByAccount } from '../../money/admission/check-owned.ts';
import { pauseAfterLongBody, readJsonBodyToStore } from '../../money/admission/read-body.ts';
import { callAccount, createAccountCaller } from '../../money/contracts/call-account.ts';
import { validateRunTools } from '../../registry/tools/check-tools.ts';
import {
  checkConversationAllowed,
  createRestrictedConversationJson,
  getCallerIfRestricted,
  getRestrictedTokenGuard,
  resolveRequestedAgent,
} from '../history/guard.ts';
import type { NewConversationFields, RpcText, TurnResumeResult } from './contract.ts';
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
import { createConversationNotFoundError, toRpcText } from './rpc-response.ts';
import {
  addMountPath,
  type ConversationMethodCall,
  callAgainIfLost,
  callConversationMethod,
  callConversationWithoutResult,
  rejectSubagentConversation,
  toAppApiError,
} from './turn-proxy.ts';
import { streamTurn } from './turn-stream.ts';

export const CONVERSATION_ROUTES = [
  defineRoute(
    'GET /conversations',
    { needs: 'messages', pages: true, query: conversationsQuery },
    async (c, { query }) => {
      const page = { ...parsePageQuery(c.req.query()), ...validateBySchema(query, c.req.query()) };
      return c.json(
        await createAccountCaller(c, c.get('identity').account)((account) => account.listConversations(page)),
      );
    },
  ),
  defineRoute(
    'POST /conversations',
    { needs: 'messages', openToRestrictedTokens: true, body: createConversation },
    createConversationFromRequest,
  ),
  defineRoute('GET /conversations/:id', { needs: 'messages' }, async (c) =>
    createJsonResponse(await callConversationMethod(c, requireConversationId(c), (object) => object.read())),
  ),
  defineRoute('DELETE /conversations/:id', { needs: 'messages', endsSpending: true }, async (c) => {
    const id = requireConversationId(c);
    const conversationKey = { account: c.get('identity').account, id };
    const callErase = () => callConversationWithoutResult<boolean>(c, id, (object) => object.erase(conversationKey));
    // The first write to a damaged table breaks the object and loses the call, so repeat a lost call. It may have deleted the
    // conversation before it was lost, so the repeated call succeeds even if there is no conversation.
    if (!(await callAgainIfLost(async (again) => (await callErase()) || again)))
      throw createConversationNotFoundError();
    return c.json({ type: 'conversation_deleted', id });
  }),
  defineRoute('PATCH /conversations/:id', { needs: 'messages', body: patchConversation }, async (c, request) => {
    const body = await readBodyToStore(c);
    const patch = validateBySchema(request.body, body.json);
    requireAllowedRetention(c, patch.retention_seconds);
    const id = requireConversationId(c);
    const quotaStatus = await admitRequestWithoutCost(c, { conversation: id, bytes: body.bytes.length });
    return createJsonResponse(
      await callWithReservedStorage(c, id, (object) => object.patchConversation(patch)),
      200,
      quotaStatus,
    );
  }),
  defineRoute(
    'GET /conversations/:id/messages',
    { needs: 'messages', openToRestrictedTokens: true, pages: true, query: historyQuery },
    respondWithMessagesPage,
  ),
  defineRoute('GET /conversations/:id/turns/:turn', { needs: 'messages' }, async (c) =>
    createJsonResponse(
      await callConversationMethod<RpcText>(c, requireConversationId(c), (object) =>
        object.readTurnReport(c.req.param('turn')),
      ),
    ),
  ),
  defineRoute('DELETE /conversations/:id/turns/:turn', { needs: 'messages', endsSpending: true }, async (c) =>
    createJsonResponse(
      await callConversationMethod<RpcText>(c, requireConversationId(c), (object) =>
        object.cancelTurn(c.req.param('turn')),
      ),
    ),
  ),
  defineRoute(
    'GET /conversations/:id/stream',
    { needs: 'messages', openToRestrictedTokens: true, query: resumeQuery },
    respondWithResumedTurn,
  ),
  defineRoute(
    'POST /conversations/:id/stop',
    { needs: 'messages', openToRestrictedTokens: true, query: stopQuery, endsSpending: true },
    async (c, { query }) => {
      const only = validateBySchema(query, c.req.query());
      const id = requireConversationIdForRestrictedToken(c);
      return createJsonResponse(
        await callConversationMethod(c, id, (object) =>
          object.stopRunningTurn(only, getCallerIfRestricted(c.get('identity'))),
        ),
      );
    },
  ),
  defineRoute('POST /conversations/:id/rewind', { needs: 'messages', body: rewindRequest }, async (c, { body }) => {
    const { before } = validateBySchema(body, (await readBodyToStore(c)).json);
    const id = requireConversationId(c);
    rejectSubagentConversation(id);
    return createJsonResponse(await callConversationMethod(c, id, (object) => object.rewindConversation(before)));
  }),
];

/** @returns the members of a new conversation, with the defaults that neither they nor their prefix or agent may decide */
function addMissingMessageDefaults<
  Fields extends Pick<NewConversationFields, 'agent' | 'prefix' | 'model' | 'max_tokens'>,
>(fields: Fields, { agent, model, max_tokens }: MessageDefaults = {}): Fields {
  if (fields.agent !== undefined || fields.prefix !== undefined) return fields;
  return { ...removeUndefined({ agent, model, max_tokens }), ...removeUndefined(fields) } as Fields;
}

/** Creates a conversation, with an imported history if the request has messages. */
async function createConversationFromRequest(c: Context<AppEnv>): Promise<Response> {
  const body = await readBodyToStore(c);
  const identity = c.get('identity');
  if (identity.only) getRestrictedTokenGuard().checkNewConversation(Object.keys(body.json));
  // Send these members to the object as JSON texts: an RPC call to an object cannot carry deeply nested values.
  const { system, messages = [], tools, ...asked } = validateBySchema(createConversation, body.json);
  requireWellFormedStrings(removeUndefined({ system, tools }));
  const defaults = getMessageDefaults(identity, c.get('settings'), { isSluiceRoute: true, body: asked });
  const fields = addMissingMessageDefaults(asked, defaults);
  validateRunTools({ tools }, identity, c.get('settings'));
  const texts = parseMemberTexts(body.text);
  await pauseAfterLongBody(body);
  // Check the resources of all messages now, because later turns only check their new messages. Skip refused answers: they are
  // not stored.
  const answers = messages.flatMap(({ status, content }) => (status === 'refused' ? [] : [content]));
  await requireResourcesOwnedByAccount(
    getRequestContext(c),
    couldContainResourceIds(body) ? findResourceIdsInRequest({ ...body.json, messages: answers }) : [],
    createUnownedIdsError,
  );
  const id = fields.id ?? createConversationId();
  checkConversationAllowed(identity, id, 'id');
  requireAllowedRetention(c, fields.retention_seconds);
  const quotaStatus = await admitRequestWithoutCost(c, { conversation: id, bytes: body.bytes.length });
  const conversationKey = { account: identity.account, id };
  const members: NewConversationFields = {
    ...fields,
    ...resolveRequestedAgent(identity, fields.agent),
    caller: identity,
  };
  const hasPrefix = fields.prefix !== undefined || fields.agent !== undefined;
  if (!hasPrefix && !texts.has('system') && defaults?.system !== undefined) {
    texts.set('system', JSON.stringify(defaults.system));
  }
  const toTextField = (name: 'system' | 'tools' | 'messages') => {
    const text = texts.get(name);
    return text === undefined ? {} : { [name]: toRpcText(text) };
  };
  const created = await callWithReservedStorage(c, id, (object) =>
    object.createConversation(conversationKey, members, {
      ...toTextField('system'),
      ...toTextField('tools'),
      ...toTextField('messages'),
    }),
  );
  return createJsonResponse(identity.only ? createRestrictedConversationJson({ id }) : created, 201, quotaStatus);
}

const MAX_REPORTED_IDS = 20;

function createUnownedIdsError(unknown: readonly CreatedId[]): ApiError {
  const named = unknown.slice(0, MAX_REPORTED_IDS).map(({ kind, id }) => `${kind} ${id.slice(0, 128)}`);
  const more = unknown.length > MAX_REPORTED_IDS ? ` and ${unknown.length - MAX_REPORTED_IDS} more` : '';
  return createInvalidRequestError(
    `This account does not have ${named.join(', ')}${more}. Remove the blocks that refer to them, or upload the files again and use the new ids.`,
  );
}

async function respondWithMessagesPage(c: Context<AppEnv>): Promise<Response> {
  const { pending, view, if_absent } = validateBySchema(historyQuery, c.req.query());
  const page = { ...parsePageQuery(c.req.query()), pending: pending === 'true', view };
  const mayBeAbsent = if_absent && page.after_id === undefined && page.before_id === undefined;
  const id = requireConversationIdForRestrictedToken(c);
  const by = getCallerIfRestricted(c.get('identity'));
  // Use the `shown` view: a restricted token must not see the calls that the edge makes for the model, or their results.
  if (by) page.view = 'shown';
  const body = await callConversationMethod<ReadableStream<Uint8Array>>(c, id, (object) =>
    object.readMessagePage(page, by),
  ).catch((thrown: unknown) => {
    if (mayBeAbsent && thrown instanceof ApiError && thrown.status === 404) return undefined;
    throw thrown;
  });
  if (!body) return c.json(createListResponse([], false, String));
  return new Response(body, { headers: { 'content-type': 'application/json' } });
}

async function respondWithResumedTurn(c: Context<AppEnv>): Promise<Response> {
  const id = requireConversationIdForRestrictedToken(c);
  const { after: queried, show, if_absent } = validateBySchema(resumeQuery, c.req.query());
  const shown = readRequestField('show', c.req.raw.headers, { show });
  const after = c.req.header('last-event-id') ?? queried;
  const resumed = await callConversationWithoutResult<TurnResumeResult>(c, id, (object) =>
    object.resumeTurnStream(after === '' ? undefined : after, getCallerIfRestricted(c.get('identity')), shown),
  );
  switch (resumed.kind) {
    case 'stream': {
      const entry = c.get('entry');
      entry.expectLaterEnd();
      // Log no cost for this request: the request that began the turn logs it.
      const callEndInterruptedTurns = () =>
        callConversationWithoutResult(c, id, (object) => object.endInterruptedTurns());
      return streamTurn(
        c,
        resumed,
        { 'sluice-turn': resumed.turn },
        () => entry.endAndWriteLine(),
        callEndInterruptedTurns,
      );
    }
    case 'none':
      return c.body(null, 204);
    case 'gone':
      throw new ApiError(
        'not_found_error',
        `The events of this turn are no longer stored. Read the response with GET /conversations/${id}/messages.`,
        { status: 410, headers: { location: addMountPath(c, `/conversations/${id}/messages`) } },
      );
    case 'unknown':
      if (if_absent) return c.body(null, 204);
      throw createConversationNotFoundError();
    case 'error':
      throw toAppApiError(c, resumed.error);
  }
}

/** Calls a method that stores something in the conversation `id`. Releases the reserved storage if the call fails. */
export async function callWithReservedStorage(
  c: Context<AppEnv>,
  id: string,
  method: ConversationMethodCall,
  called = id,
): Promise<RpcText> {
  try {
    return await callConversationMethod(c, called, method);
  } catch (thrown) {
    c.get('entry').keepAliveFor(callAccount(getRequestContext(c), (account) => account.releaseExpectedStorage(id)));
    throw thrown;
  }
}

/** @throws ApiError 404 for an invalid id, the same as for an unknown one */
export function requireConversationId(c: Context<AppEnv>): string {
  const id = c.req.param('id') ?? '';
  if (!isConversationId(id)) throw createConversationNotFoundError();
  return id;
}

/**
 * Does the same on a route that is open to restricted tokens. @throws ApiError 403 for a conversation that such a token may not
 * use
 */
export function requireConversationIdForRestrictedToken(c: Context<AppEnv>): string {
  const id = requireConversationId(c);
  checkConversationAllowed(c.get('identity'), id);
  return id;
}

export async function readBodyToStore(c: Context<AppEnv>): Promise<JsonBody> {
  return removeRepeatedKeysFromBody(await readJsonBodyToStore(c, 'free'), 'everywhere');
}

/** @throws ApiError 400 for a retention longer than the deployment's; an admin may set any */
function requireAllowedRetention(c: Context<AppEnv>, seconds: number | null | undefined): void {
  const most = c.get('settings').RETENTION_DAYS * (DAY_MS / 1_000);
  if (typeof seconds !== 'number' || seconds <= most || hasScope(c.get('identity'), 'admin')) return;
  throw createInvalidRequestError(
    `retention_seconds: Input should be less than or equal to ${most}, the limit of this deployment`,
  );
}

export function createJsonResponse(text: RpcText, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(text, { status, headers: { ...headers, 'content-type': 'application/json' } });
}

export function createConversationId(): string {
  return `conv_${crypto.randomUUID().replaceAll('-', '')}`;
}
