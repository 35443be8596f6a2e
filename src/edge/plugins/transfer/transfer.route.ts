import { defineRoute } from '../../auth/route.ts';
import {
  checkConversationAllowed,
  createRestrictedConversationJson,
  getCallerIfRestricted,
} from '../../conversations/history/guard.ts';
import {
  callWithReservedStorage,
  createConversationId,
  createJsonResponse,
  readBodyToStore,
  requireConversationId,
  requireConversationIdForRestrictedToken,
} from '../../conversations/object/conversations.route.ts';
import { callConversationMethod } from '../../conversations/object/turn-proxy.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { admitRequestWithoutCost } from '../../money/admission/admit-free.ts';
import { appendErrorLineIfCut } from './export-stream.ts';
import { exportQuery, forkRequest } from './transfer.schema.ts';

export const TRANSFER_ROUTES = [
  defineRoute('GET /conversations/:id/export', { needs: 'messages', query: exportQuery }, async (c, { query }) => {
    const { view } = validateBySchema(query, c.req.query());
    const body = await callConversationMethod<ReadableStream<Uint8Array>>(c, requireConversationId(c), (object) =>
      object.exportConversation(view),
    );
    const lines = appendErrorLineIfCut(body, c.get('requestId'), (work) => c.get('entry').keepAliveFor(work));
    return new Response(lines, { headers: { 'content-type': 'application/jsonl' } });
  }),
  defineRoute(
    'POST /conversations/:id/fork',
    { needs: 'messages', openToRestrictedTokens: true, body: forkRequest },
    async (c, { body }) => {
      const { at, id = createConversationId() } = validateBySchema(body, (await readBodyToStore(c)).json);
      if (id === c.req.param('id'))
        throw createInvalidRequestError('id: must differ from the id of the original conversation. Choose another id.');
      const from = requireConversationIdForRestrictedToken(c);
      checkConversationAllowed(c.get('identity'), id, 'id');
      const quotaStatus = await admitRequestWithoutCost(c, { conversation: id, bytes: 0, copyOf: from });
      const by = getCallerIfRestricted(c.get('identity'));
      const copied = await callWithReservedStorage(c, id, (object) => object.forkConversation(id, at, by), from);
      return createJsonResponse(by ? createRestrictedConversationJson({ id }) : copied, 201, quotaStatus);
    },
  ),
];
