/** Requests an admission from an account's object, and reads its decision. */

import type { RequestContext } from '../../auth/context.ts';
import type { Identity } from '../../auth/identity/caller.ts';
import { isAdminScope, isVisitor } from '../../auth/identity/identity.ts';
import { MAX_MODEL_NAME_CHARACTERS, type ModelTable } from '../../claude/models/models.ts';
import type { Settings } from '../../config/settings.ts';
import { ObjectUnreachableError } from '../../durable/call-object.ts';
import { type ApiError, createMisconfiguredError, createNonRetryableError } from '../../kit/http/errors.ts';
import { isolateCounts } from '../../kit/http/isolate-counts.ts';
import { getDefaultLimits } from '../budget/default-limits.ts';
import type { AdmissionDecision, AdmissionRequest, RequestCostKind } from '../contracts/admission.ts';
import { type AccountTarget, callAccount, sendSettlement } from '../contracts/call-account.ts';
import { collectCallerDimensions, omitRowOnlyDimensions } from '../contracts/dimensions.ts';
import type { Settlement } from '../contracts/settlement.ts';
import { addToAccountList } from '../lists/list-account.ts';
import { createWithdrawnVersionError } from '../versions/kv-copies.ts';
import { createBlockedError, createLimitRejectionError, createStorageLimitError } from './limit-headers.ts';
import type { BillingContext, ForwardedAdmissionField } from './request-to-bill.ts';

/** @returns the members that every request sends to its account. */
export function createAdmissionRequest(
  request: Pick<BillingContext, ForwardedAdmissionField | 'dimensions' | 'requestId' | 'identity' | 'settings'> & {
    model: string;
  },
): AdmissionRequest {
  const { requestId, route, model, conversation, parent, dimensions, holdMs, identity, settings } = request;
  return {
    requestId,
    route,
    model,
    conversation,
    parent,
    holdMs,
    token: toCredentialUse(identity),
    dimensions: { ...dimensions, ...collectCallerDimensions(identity) },
    defaults: getDefaultLimits(identity.account, settings),
    pools: getPayingPools(identity, settings),
  };
}

/** @returns what an account must know of the credential that is used; undefined if none is. */
export function toCredentialUse({ token, only, location }: Identity): AdmissionRequest['token'] {
  if (!token) return undefined;
  const { jti, issued_at: iat, expires_at: exp, session, scopes } = token;
  const operatorScopes = scopes.some(isAdminScope) ? scopes.join(' ') : undefined;
  return { jti, iat, exp, sessionEnd: session?.end, maxRequests: only?.max_requests, operatorScopes, location };
}

/** @returns the pools that also pay for an account's requests, as far as they are known here; undefined if there are none. */
function getPayingPools({ group }: Identity, { DEPLOYMENT_LIMITS }: Settings): AdmissionRequest['pools'] {
  const deployment = DEPLOYMENT_LIMITS !== undefined;
  return deployment || group !== undefined ? { deployment, group } : undefined;
}

/** @returns the account's decision. @throws ObjectUnreachableError 503 while the account cannot be reached */
export async function requestAdmissionOfAccount(
  request: AccountTarget,
  admissionRequest: AdmissionRequest,
): Promise<AdmissionDecision> {
  const text = JSON.stringify(admissionRequest);
  const endPendingAdmission = isolateCounts.countPendingAdmission();
  try {
    return JSON.parse(await callAccount(request, (account) => account.admitJson(text))) as AdmissionDecision;
  } finally {
    endPendingAdmission();
  }
}

/**
 * Does what `requestAdmissionOfAccount` does, and adds the account to the list of accounts if it is not there. Rejected
 * accounts are added, too, so that an admin can see why.
 *
 * @throws ObjectUnreachableError as `requestAdmissionOfAccount`
 */
export async function requestAdmissionAndListAccount(
  request: AccountTarget & Pick<RequestContext, 'store' | 'waitUntil'>,
  admissionRequest: AdmissionRequest,
): Promise<AdmissionDecision> {
  const decision = await requestAdmissionOfAccount(request, admissionRequest);
  // Add the account to the list of accounts at its first request. Visitors are never listed.
  const isListable = 'unlisted' in decision && decision.unlisted && !isVisitor(request.identity.account);
  if (isListable) request.waitUntil(addToAccountList(request));
  return decision;
}

/**
 * Does what `requestAdmissionAndListAccount` does. While only the holds of other requests leave too little, the request waits
 * in its account's queue. If the caller disconnects, the request leaves the queue.
 *
 * @param until the end of the waiting time, in milliseconds since 1970
 */
export async function waitForAdmission(
  request: BillingContext & { model: string },
  admissionRequest: AdmissionRequest,
  until: number,
): Promise<AdmissionDecision> {
  const { signal, identity, accounts, settings, conversation } = request;
  const waitMs = Math.max(0, until - Date.now());
  if (waitMs === 0 || signal?.aborted) return await requestAdmissionAndListAccount(request, admissionRequest);
  const leaveAdmissionQueue = () => {
    // Settling at a cost of 0 removes the request from the queue, and releases its hold if it was admitted meanwhile.
    const left = JSON.stringify(createUnsentSettlement(request, 'client_gone', Date.now()));
    request.waitUntil(sendSettlement({ identity, accounts, settings }, left));
  };
  // A conversation's request is settled by its turn, so only other requests leave the queue when the caller disconnects.
  if (conversation === undefined) signal?.addEventListener('abort', leaveAdmissionQueue, { once: true });
  try {
    return await requestAdmissionAndListAccount(request, { ...admissionRequest, waitMs });
  } finally {
    signal?.removeEventListener('abort', leaveAdmissionQueue);
  }
}

/**
 * Asks an account whether a caller may send requests at all now.
 *
 * @throws ApiError 401 for a revoked credential, 429 for a limit that is reached, 503 while the account's object cannot be
 *   reached
 */
export async function requireCallerCanSend(
  request: Pick<BillingContext, 'identity' | 'accounts' | 'settings'>,
  costKind: RequestCostKind,
): Promise<void> {
  // Only these two fields are needed. Neither depends on the id, the route or the model.
  const { token, defaults } = createAdmissionRequest({ ...request, requestId: '', route: '', model: '' });
  const text = JSON.stringify({ costKind, token, defaults });
  const json = await callAccount(request, (account) => account.checkCallerJson(text));
  const answer = JSON.parse(json) as AdmissionDecision | null;
  if (answer) requireAdmittedDecision(answer);
}

/** @returns the settlement of a request that was never sent: it costs nothing. */
export function createUnsentSettlement(
  { requestId, route, model, conversation, dimensions = {} }: BillingContext & { model: string },
  errorType: 'account_unreachable' | 'client_gone',
  startedAt: number,
): Settlement {
  const named = { route, model: model.slice(0, MAX_MODEL_NAME_CHARACTERS), conversation: conversation ?? null };
  const admittedFields = { ...named, dimensions: omitRowOnlyDimensions(dimensions) };
  const status = errorType === 'client_gone' ? errorType : 'unreachable';
  return { requestId, status, cost: 0, errorType, startedAt, admittedFields };
}

/**
 * @returns the admission, if the account has admitted the request
 * @throws ApiError for every other answer
 */
export function requireAdmittedDecision(
  answer: AdmissionDecision,
  models?: ModelTable,
): Extract<AdmissionDecision, { outcome: 'admitted' }> {
  switch (answer.outcome) {
    case 'admitted':
      return answer;
    case 'revoked':
      throw createRevokedError();
    case 'blocked':
      throw createBlockedError(answer.message);
    case 'withdrawn':
      throw createWithdrawnVersionError(answer.kind, answer.ref);
    case 'refused':
      throw createLimitRejectionError(answer.refusal, answer.quota, models);
    case 'full':
      throw createStorageLimitError(answer);
    case 'unpayable':
      throw createMisconfiguredError(
        'DEPLOYMENT_LIMITS and groups require the plugin `pools`, which this Worker does not include. Its operator must add the plugin.',
      );
    case 'unreachable':
      throw new ObjectUnreachableError('pool', answer.damage && new Error(answer.damage));
    case 'count_needed':
    case 'fewer_uses':
      throw createNonRetryableError(
        'api_error',
        'The maximum cost of this request could not be computed. Send a smaller request.',
      );
  }
}

function createRevokedError(): ApiError {
  return createNonRetryableError('authentication_error', 'This credential has been revoked. Get a new one.');
}
