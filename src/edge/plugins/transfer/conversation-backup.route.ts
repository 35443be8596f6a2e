import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import { isAccount } from '../../auth/identity/identity.ts';
import { route } from '../../auth/route.ts';
import { conversationsQuery, isConversationId } from '../../conversations/object/conversations.schema.ts';
import { noConversation } from '../../conversations/object/rpc-response.ts';
import { type ConversationCall, callConversation } from '../../conversations/object/turn-proxy.ts';
import { type ApiError, invalidRequest, notFound } from '../../kit/http/errors.ts';
import { mediaTypeOf } from '../../kit/http/headers/media-type.ts';
import { readPage } from '../../kit/http/page.ts';
import { validate } from '../../kit/http/validate.ts';
import { accountOf } from '../../money/contracts/call-account.ts';
import { listNamedAccount } from '../../money/lists/list-account.ts';
import { checkLines } from './checked-backup.ts';

const LINES = /^application\/(jsonl|x-ndjson|x-jsonl)$/;

/** The routes by which an admin moves a conversation of any account to another deployment. */
export const CONVERSATION_BACKUP_ROUTES = [
  route(
    'GET /accounts/:id/conversations',
    { needs: 'admin', pages: true, query: conversationsQuery },
    async (c, { query }) => {
      const page = { ...readPage(c.req.query()), ...validate(query, c.req.query()) };
      return c.json(await accountOf(c, c.req.param('id'))((account) => account.conversations(page)));
    },
  ),
  route('GET /accounts/:id/conversations/:conversation/backup', { needs: 'admin' }, async (c) => {
    const { account, id } = conversationOfPath(c);
    const lines = await callConversation<ReadableStream<Uint8Array>>(c, id, (object) => object.backup(), account);
    return new Response(lines, { headers: { 'content-type': 'application/jsonl' } });
  }),
  route('PUT /accounts/:id/conversations/:conversation/backup', { needs: 'admin' }, async (c) => {
    const { account, id } = conversationOfPath(c);
    if (!LINES.test(mediaTypeOf(c.req.raw))) {
      throw invalidRequest('Send the lines of a backup, with the header content-type: application/jsonl.', {
        status: 415,
      });
    }
    const { body } = c.req.raw;
    if (!body) throw invalidRequest('The backup is missing. Send the lines that GET …/backup has given.');
    const erasedUntil = await accountOf(c, account)((object) => object.erasedUntil());
    const { lines, fault } = checkLines(body, c.get('settings').MAX_BODY_BYTES, erasedUntil);
    const adopt: ConversationCall = (object) => object.adopt({ account, id }, lines);
    const adopted = await callConversation(c, id, adopt, account).catch((thrown: unknown) => {
      throw callerFault(fault()) ?? thrown;
    });
    listNamedAccount(contextOf(c), account);
    return new Response(adopted, { status: 201, headers: { 'content-type': 'application/json' } });
  }),
];

/**
 * @returns the fault if the caller has caused it. A line that could not be written is only the consequence of another fault.
 */
function callerFault(fault: ApiError | undefined): ApiError | undefined {
  return fault && fault.status < 500 ? fault : undefined;
}

/** @throws ApiError 404 for names that no account or conversation can have */
function conversationOfPath(c: Context<AppEnv>): { account: string; id: string } {
  const account = c.req.param('id') ?? '';
  const id = c.req.param('conversation') ?? '';
  if (!isAccount(account)) throw notFound('There is no such account.');
  if (!isConversationId(id)) throw noConversation();
  c.get('entry').line.conversation = id;
  return { account, id };
}
