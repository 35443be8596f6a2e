import type { Context } from 'hono';
import { hasScope } from '../../../auth/authenticate.ts';
import type { AppEnv } from '../../../auth/context.ts';
import type { Identity, RestrictedCaller } from '../../../auth/identity/caller.ts';
import { isAccount } from '../../../auth/identity/identity.ts';
import { route } from '../../../auth/route.ts';
import { checkConversationAllowed, restrictedCaller } from '../../../conversations/history/guard.ts';
import type { DecisionAnswer, DecisionRequest, RpcText } from '../../../conversations/object/contract.ts';
import { isConversationId } from '../../../conversations/object/conversations.schema.ts';
import { noConversation } from '../../../conversations/object/rpc-response.ts';
import { type ConversationCall, callConversation, mountedPath } from '../../../conversations/object/turn-proxy.ts';
import { finalError, restrictedTokenError } from '../../../kit/http/errors.ts';
import { removeAmbiguity } from '../../../kit/http/read-json.ts';
import { validate } from '../../../kit/http/validate.ts';
import { parseMemberTexts } from '../../../kit/json/edit.ts';
import { readJsonToStore } from '../../../money/admission/read-body.ts';
import { approvalsQuery, decisionRequest } from './approvals.schema.ts';

/** The routes of calls that wait for approval. */
export const APPROVAL_ROUTES = [
  route(
    'GET /conversations/:id/approvals',
    { needs: 'messages', restrictedClassifier: true, query: approvalsQuery },
    async (c) => {
      const by = restrictedApprover(c.get('identity'));
      const text = await callForApproval<RpcText>(c, (object) => object.callPlugin('runs', 'listApprovals', by));
      return new Response(text, { headers: { 'content-type': 'application/json' } });
    },
  ),
  route(
    'POST /conversations/:id/approvals/:approval',
    { needs: 'messages', restrictedClassifier: true, query: approvalsQuery, body: decisionRequest },
    async (c, request) => {
      const by = restrictedApprover(c.get('identity'));
      const sent = removeAmbiguity(await readJsonToStore(c, 'free'), 'everywhere');
      const { input_text, input: _, ...decision } = validate(request.body, sent.json);
      const input = input_text ?? parseMemberTexts(sent.text).get('input');
      if (by && input !== undefined)
        throw restrictedTokenError('input: a call is approved or denied as the model made it.');
      const { status, turn, body } = await callForApproval<DecisionAnswer>(c, (object) =>
        object.callPlugin('runs', 'decideApproval', {
          ...decision,
          input,
          id: c.req.param('approval'),
          by,
          isAdmin: hasScope(c.get('identity'), 'admin'),
          requestId: c.get('requestId'),
        } satisfies DecisionRequest),
      );
      const headers: Record<string, string> = { 'content-type': 'application/json', 'sluice-turn': turn };
      if (status === 202) headers.location = mountedPath(c, `/conversations/${c.req.param('id')}/turns/${turn}`);
      return new Response(body, { status, headers });
    },
  ),
];

/** @returns the caller whose token is restricted; undefined for any other @throws ApiError 403 for one that may not decide */
function restrictedApprover(identity: Identity): RestrictedCaller | undefined {
  if (!identity.only || identity.only.approvals) return restrictedCaller(identity);
  throw restrictedTokenError('This credential decides on no calls: its token has no `approvals`.');
}

/**
 * Calls the conversation that the path names, in the account that the query names.
 *
 * @throws ApiError as the object says; 403 or 404 if the caller may not see it
 */
async function callForApproval<T>(c: Context<AppEnv>, method: ConversationCall): Promise<T> {
  const identity = c.get('identity');
  const { account = identity.account } = validate(approvalsQuery, c.req.query());
  if (account !== identity.account && !hasScope(identity, 'admin')) {
    throw finalError('permission_error', 'account: only an admin sees and decides what waits in other accounts.');
  }
  const id = c.req.param('id') ?? '';
  checkConversationAllowed(identity, id);
  if (!isConversationId(id) || !isAccount(account)) throw noConversation();
  return await callConversation<T>(c, id, method, account);
}
