import type { Context } from 'hono';
import { hasScope } from '../../../auth/authenticate.ts';
import type { AppEnv } from '../../../auth/context.ts';
import type { Identity, RestrictedCaller } from '../../../auth/identity/caller.ts';
import { isAccountName } from '../../../auth/identity/identity.ts';
import { defineRoute } from '../../../auth/route.ts';
import { checkConversationAllowed, getCallerIfRestricted } from '../../../conversations/history/guard.ts';
import type {
  ApprovalDecisionRequest,
  ApprovalDecisionResult,
  RpcText,
} from '../../../conversations/object/contract.ts';
import { isConversationId } from '../../../conversations/object/conversations.schema.ts';
import { createConversationNotFoundError } from '../../../conversations/object/rpc-response.ts';
import {
  addMountPath,
  type ConversationMethodCall,
  callConversationMethod,
} from '../../../conversations/object/turn-proxy.ts';
import { createNonRetryableError, createRestrictedTokenError } from '../../../kit/http/errors.ts';
import { removeRepeatedKeysFromBody } from '../../../kit/http/read-json.ts';
import { validateBySchema } from '../../../kit/http/validate.ts';
import { parseMemberTexts } from '../../../kit/json/edit.ts';
import { readJsonBodyToStore } from '../../../money/admission/read-body.ts';
import { approvalsQuery, decisionRequest } from './approvals.schema.ts';

/** The routes of calls that wait for approval. */
export const APPROVAL_ROUTES = [
  defineRoute(
    'GET /conversations/:id/approvals',
    { needs: 'messages', openToRestrictedTokens: true, query: approvalsQuery },
    async (c) => {
      const by = requireApproverAccess(c.get('identity'));
      const text = await callConversationFromPath<RpcText>(c, (object) =>
        object.callPlugin('runs', 'listApprovals', by),
      );
      return new Response(text, { headers: { 'content-type': 'application/json' } });
    },
  ),
  defineRoute(
    'POST /conversations/:id/approvals/:approval',
    { needs: 'messages', openToRestrictedTokens: true, query: approvalsQuery, body: decisionRequest },
    async (c, request) => {
      const by = requireApproverAccess(c.get('identity'));
      const sent = removeRepeatedKeysFromBody(await readJsonBodyToStore(c, 'free'), 'everywhere');
      const { input_text, input: _, ...decision } = validateBySchema(request.body, sent.json);
      const input = input_text ?? parseMemberTexts(sent.text).get('input');
      if (by && input !== undefined)
        throw createRestrictedTokenError(
          'input: this credential can only approve or deny a call unchanged. Remove it.',
        );
      const { status, turn, body } = await callConversationFromPath<ApprovalDecisionResult>(c, (object) =>
        object.callPlugin('runs', 'decideApproval', {
          ...decision,
          input,
          id: c.req.param('approval'),
          by,
          isAdmin: hasScope(c.get('identity'), 'admin'),
          requestId: c.get('requestId'),
        } satisfies ApprovalDecisionRequest),
      );
      const headers: Record<string, string> = { 'content-type': 'application/json', 'sluice-turn': turn };
      if (status === 202) headers.location = addMountPath(c, `/conversations/${c.req.param('id')}/turns/${turn}`);
      return new Response(body, { status, headers });
    },
  ),
];

/**
 * @returns the caller, if its token is restricted; undefined otherwise @throws ApiError 403 for a caller that may not decide
 */
function requireApproverAccess(identity: Identity): RestrictedCaller | undefined {
  if (!identity.only || identity.only.approvals) return getCallerIfRestricted(identity);
  throw createRestrictedTokenError(
    'This credential cannot decide on calls, because its token has no `approvals`. Use a token with `"approvals": true`.',
  );
}

/**
 * Calls the conversation that the path names, in the account that the query names.
 *
 * @throws ApiError that the object returns; 403 or 404 if the caller may not see the conversation
 */
async function callConversationFromPath<T>(c: Context<AppEnv>, method: ConversationMethodCall): Promise<T> {
  const identity = c.get('identity');
  const { account = identity.account } = validateBySchema(approvalsQuery, c.req.query());
  if (account !== identity.account && !hasScope(identity, 'admin')) {
    throw createNonRetryableError(
      'permission_error',
      'account: only an admin can list and decide approvals of other accounts. Remove it.',
    );
  }
  const id = c.req.param('id') ?? '';
  checkConversationAllowed(identity, id);
  if (!isConversationId(id) || !isAccountName(account)) throw createConversationNotFoundError();
  return await callConversationMethod<T>(c, id, method, account);
}
