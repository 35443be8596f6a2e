import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import { isAccountName } from '../../auth/identity/identity.ts';
import { defineRoute } from '../../auth/route.ts';
import { conversationsQuery, isConversationId } from '../../conversations/object/conversations.schema.ts';
import { createConversationNotFoundError } from '../../conversations/object/rpc-response.ts';
import { type ConversationMethodCall, callConversationMethod } from '../../conversations/object/turn-proxy.ts';
import { createInvalidRequestError, createNotFoundError } from '../../kit/http/errors.ts';
import { parseMediaType } from '../../kit/http/headers/media-type.ts';
import { parsePageQuery } from '../../kit/http/page.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { createAccountCaller } from '../../money/contracts/call-account.ts';
import { addNamedAccountToList } from '../../money/lists/list-account.ts';

const LINES = /^application\/(jsonl|x-ndjson|x-jsonl)$/;

/** The routes by which an admin moves a conversation of any account to another deployment. */
export const CONVERSATION_BACKUP_ROUTES = [
  defineRoute(
    'GET /accounts/:id/conversations',
    { needs: 'admin:backup', pages: true, query: conversationsQuery },
    async (c, { query }) => {
      const page = { ...parsePageQuery(c.req.query()), ...validateBySchema(query, c.req.query()) };
      return c.json(await createAccountCaller(c, c.req.param('id'))((account) => account.listConversations(page)));
    },
  ),
  defineRoute('GET /accounts/:id/conversations/:conversation/backup', { needs: 'admin:backup' }, async (c) => {
    const { account, id } = requireConversationParams(c);
    const lines = await callConversationMethod<ReadableStream<Uint8Array>>(c, id, (object) => object.backup(), account);
    return new Response(lines, { headers: { 'content-type': 'application/jsonl' } });
  }),
  defineRoute('PUT /accounts/:id/conversations/:conversation/backup', { needs: 'admin' }, async (c) => {
    const { account, id } = requireConversationParams(c);
    if (!LINES.test(parseMediaType(c.req.raw))) {
      throw createInvalidRequestError('Send the lines of a backup, with the header content-type: application/jsonl.', {
        status: 415,
      });
    }
    const { body } = c.req.raw;
    if (!body) throw createInvalidRequestError('The body is empty. Send the response of GET …/backup.');
    const erasedUntil = await createAccountCaller(c, account)((object) => object.getErasedUntil());
    // A call carries only the streams of the runtime.
    const lines = body.pipeThrough(new IdentityTransformStream());
    const adoptBackup: ConversationMethodCall = (object) =>
      object.storeCopiedHistory({ account, id }, lines, erasedUntil);
    const adopted = await callConversationMethod(c, id, adoptBackup, account);
    addNamedAccountToList(getRequestContext(c), account);
    return new Response(adopted, { status: 201, headers: { 'content-type': 'application/json' } });
  }),
];

/** @throws ApiError 404 for names that no account or conversation can have */
function requireConversationParams(c: Context<AppEnv>): { account: string; id: string } {
  const account = c.req.param('id') ?? '';
  const id = c.req.param('conversation') ?? '';
  if (!isAccountName(account)) throw createNotFoundError('This account does not exist. Check its id.');
  if (!isConversationId(id)) throw createConversationNotFoundError();
  c.get('entry').line.conversation = id;
  return { account, id };
}
