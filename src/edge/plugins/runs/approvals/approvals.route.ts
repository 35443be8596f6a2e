import type { Context } from 'hono';
import { hasScope } from '../../../auth/authenticate.ts';
import type { AppEnv } from '../../../auth/context.ts';
import type { BoundCaller, Identity } from '../../../auth/identity/caller.ts';
import { isAccount } from '../../../auth/identity/identity.ts';
import { route } from '../../../auth/route.ts';
import { boundCaller, refuseOtherConversation } from '../../../conversations/history/guard.ts';
import type { CalledDecision, DecisionAnswer, RpcText } from '../../../conversations/object/contract.ts';
import { isConversationId } from '../../../conversations/object/conversations.schema.ts';
import { noConversation } from '../../../conversations/object/rpc-response.ts';
import { type ConversationCall, callConversation, mountedPath } from '../../../conversations/object/turn-proxy.ts';
import { closedToBound, finalError } from '../../../kit/http/errors.ts';
import { withOneReading } from '../../../kit/http/read-json.ts';
import { validate } from '../../../kit/http/validate.ts';
import { memberTexts } from '../../../kit/json/edit.ts';
import { readToStore } from '../../../money/admission/read-body.ts';
import { approvalsQuery, decisionRequest } from './approvals.schema.ts';

/** The routes of calls that wait for approval. */
export const APPROVAL_ROUTES = [
  route('GET /conversations/:id/approvals', { needs: 'messages', bound: true, query: approvalsQuery }, async (c) => {
    const by = boundApprover(c.get('identity'));
    const text = await callNamed<RpcText>(c, (object) => object.part('runs', 'listApprovals', by));
    return new Response(text, { headers: { 'content-type': 'application/json' } });
  }),
  route(
    'POST /conversations/:id/approvals/:approval',
    { needs: 'messages', bound: true, query: approvalsQuery, body: decisionRequest },
    async (c, request) => {
      const by = boundApprover(c.get('identity'));
      const sent = withOneReading(await readToStore(c, 'free'), 'everywhere');
      const { input_text, input: _, ...decision } = validate(request.body, sent.json);
      const input = input_text ?? memberTexts(sent.text).get('input');
      if (by && input !== undefined) throw closedToBound('input: a call is approved or denied as the model made it.');
      const { status, turn, body } = await callNamed<DecisionAnswer>(c, (object) =>
        object.part('runs', 'decideApproval', {
          ...decision,
          input,
          id: c.req.param('approval'),
          by,
          isAdmin: hasScope(c.get('identity'), 'admin'),
          requestId: c.get('requestId'),
        } satisfies CalledDecision),
      );
      const headers: Record<string, string> = { 'content-type': 'application/json', 'sluice-turn': turn };
      if (status === 202) headers.location = mountedPath(c, `/conversations/${c.req.param('id')}/turns/${turn}`);
      return new Response(body, { status, headers });
    },
  ),
];

/** @returns the caller whose token is bound; undefined for any other @throws ApiError 403 for one that may not decide */
function boundApprover(identity: Identity): BoundCaller | undefined {
  if (!identity.only || identity.only.approvals) return boundCaller(identity);
  throw closedToBound('This credential decides on no calls: its token has no `approvals`.');
}

/**
 * Calls the conversation that the path names, in the account that the query names.
 *
 * @throws ApiError as the object says; 403 or 404 if the caller may not see it
 */
async function callNamed<T>(c: Context<AppEnv>, method: ConversationCall): Promise<T> {
  const identity = c.get('identity');
  const { account = identity.account } = validate(approvalsQuery, c.req.query());
  if (account !== identity.account && !hasScope(identity, 'admin')) {
    throw finalError('permission_error', 'account: only an admin sees and decides what waits in other accounts.');
  }
  const id = c.req.param('id') ?? '';
  refuseOtherConversation(identity, id);
  if (!isConversationId(id) || !isAccount(account)) throw noConversation();
  return await callConversation<T>(c, id, method, account);
}
