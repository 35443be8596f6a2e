import { route } from '../../auth/route.ts';
import { checkConversationAllowed, restrictedCaller, restrictedView } from '../../conversations/history/guard.ts';
import {
  bodyOf,
  callReservingStorage,
  idOf,
  json,
  newConversationId,
  restrictedIdOf,
} from '../../conversations/object/conversations.route.ts';
import { callConversation } from '../../conversations/object/turn-proxy.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import { validate } from '../../kit/http/validate.ts';
import { admitFree } from '../../money/admission/admit-free.ts';
import { withErrorLine } from './export-stream.ts';
import { exportQuery, forkRequest } from './transfer.schema.ts';

export const TRANSFER_ROUTES = [
  route('GET /conversations/:id/export', { needs: 'messages', query: exportQuery }, async (c, { query }) => {
    const { view } = validate(query, c.req.query());
    const body = await callConversation<ReadableStream<Uint8Array>>(c, idOf(c), (object) => object.export(view));
    const lines = withErrorLine(body, c.get('requestId'), (work) => c.get('entry').trackWork(work));
    return new Response(lines, { headers: { 'content-type': 'application/jsonl' } });
  }),
  route(
    'POST /conversations/:id/fork',
    { needs: 'messages', restrictedClassifier: true, body: forkRequest },
    async (c, { body }) => {
      const { at, id = newConversationId() } = validate(body, (await bodyOf(c)).json);
      if (id === c.req.param('id'))
        throw invalidRequest('id: a conversation cannot be its own copy. Choose another id.');
      const from = restrictedIdOf(c);
      checkConversationAllowed(c.get('identity'), id);
      const quotaStatus = await admitFree(c, { conversation: id, bytes: 0, copyOf: from });
      const by = restrictedCaller(c.get('identity'));
      const copied = await callReservingStorage(c, id, (object) => object.fork(id, at, by), from);
      return json(by ? restrictedView({ id }) : copied, 201, quotaStatus);
    },
  ),
];
