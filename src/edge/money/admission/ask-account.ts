/** Asks an account's object to admit a request, and reads its answer. */

import type { RequestContext } from '../../auth/context.ts';
import type { Identity } from '../../auth/identity/caller.ts';
import { isVisitor } from '../../auth/identity/identity.ts';
import { LONGEST_MODEL_NAME, type ModelTable } from '../../claude/models/models.ts';
import type { Settings } from '../../config/settings.ts';
import { ObjectUnreachable } from '../../durable/call-object.ts';
import { type ApiError, finalError, misconfigured } from '../../kit/http/errors.ts';
import { isolateCounts } from '../../kit/http/isolate-counts.ts';
import { defaultLimits } from '../budget/default-limits.ts';
import type { AdmissionDecision, AdmissionRequest, Asking } from '../contracts/admission.ts';
import { type AccountRequest, callAccount, sendSettlement } from '../contracts/call-account.ts';
import { callerDimensions, summedOf } from '../contracts/dimensions.ts';
import type { Settlement } from '../contracts/settlement.ts';
import { putOnList } from '../lists/list-account.ts';
import { withdrawn } from '../versions/kv-copies.ts';
import { refusalError, storageError } from './limit-headers.ts';
import type { MeterRequest, Passed } from './metered-request.ts';

/** @returns the members that every request sends to its account. */
export function admissionRequestOf(
  request: Pick<MeterRequest, Passed | 'about' | 'requestId' | 'model' | 'identity' | 'settings'>,
): AdmissionRequest {
  const { requestId, route, model, conversation, parent, about, holdMs, identity, settings } = request;
  return {
    ...{ requestId, route, model, conversation, parent, holdMs },
    token: credentialUse(identity),
    about: { ...about, ...callerDimensions(identity) },
    defaults: defaultLimits(identity.account, settings),
    pools: poolsOf(identity, settings),
  };
}

/** @returns what an account must know of the credential that is used; undefined if none is. */
export function credentialUse({ token, only }: Identity): AdmissionRequest['token'] {
  if (!token) return undefined;
  const { jti, issued_at: iat, expires_at: exp, session } = token;
  return { jti, iat, exp, sessionEnd: session?.end, maxRequests: only?.max_requests };
}

/** @returns the pools that also pay for an account's requests, as far as they are known here; undefined if there are none. */
function poolsOf({ group }: Identity, { DEPLOYMENT_LIMITS }: Settings): AdmissionRequest['pools'] {
  const deployment = DEPLOYMENT_LIMITS !== undefined;
  return deployment || group !== undefined ? { deployment, group } : undefined;
}

/** @returns the account's decision. @throws ObjectUnreachable 503 while the account cannot be reached */
export async function askForAdmission(
  request: AccountRequest,
  admissionRequest: AdmissionRequest,
): Promise<AdmissionDecision> {
  const text = JSON.stringify(admissionRequest);
  const answered = isolateCounts.ask();
  try {
    return JSON.parse(await callAccount(request, (account) => account.admitJson(text))) as AdmissionDecision;
  } finally {
    answered();
  }
}

/**
 * Does what `askForAdmission` does, and adds the account to the list of accounts if it is not there. Refused accounts are
 * added, too, so that an admin can find out why.
 *
 * @throws ObjectUnreachable as `askForAdmission`
 */
export async function askAndList(
  request: AccountRequest & Pick<RequestContext, 'store' | 'waitUntil'>,
  admissionRequest: AdmissionRequest,
): Promise<AdmissionDecision> {
  const decision = await askForAdmission(request, admissionRequest);
  // Visitors are in no list.
  const isListable = 'unlisted' in decision && decision.unlisted && !isVisitor(request.identity.account);
  if (isListable) request.waitUntil(putOnList(request));
  return decision;
}

/**
 * Does what `askAndList` does. While only the holds of other requests leave too little, the request waits in its account's line; a
 * caller who leaves leaves it.
 *
 * @param until when it has waited long enough; milliseconds since 1970
 */
export async function waitForAdmission(
  request: MeterRequest,
  admissionRequest: AdmissionRequest,
  until: number,
): Promise<AdmissionDecision> {
  const { signal, identity, accounts, settings, conversation } = request;
  const waitMs = Math.max(0, until - Date.now());
  if (waitMs === 0 || signal?.aborted) return await askAndList(request, admissionRequest);
  const leave = () => {
    // A request that is settled waits no more, and what it was granted meanwhile is free again.
    const left = JSON.stringify(unsent(request, 'client_gone', Date.now()));
    request.waitUntil(sendSettlement({ identity, accounts, settings }, left));
  };
  // A turn settles itself.
  if (conversation === undefined) signal?.addEventListener('abort', leave, { once: true });
  try {
    return await askAndList(request, { ...admissionRequest, waitMs });
  } finally {
    signal?.removeEventListener('abort', leave);
  }
}

/**
 * Asks an account whether a caller may send requests at all now.
 *
 * @throws ApiError 401 for a revoked credential, 429 for a limit that is reached, 503 while the account's object cannot be
 *   reached
 */
export async function mayAsk(
  request: Pick<MeterRequest, 'identity' | 'accounts' | 'settings'>,
  asking: Asking,
): Promise<void> {
  const { token, defaults } = admissionRequestOf({ ...request, requestId: '', route: '', model: '' });
  const text = JSON.stringify({ asking, token, defaults });
  const json = await callAccount(request, (account) => account.mayAskJson(text));
  const answer = JSON.parse(json) as AdmissionDecision | null;
  if (answer) grantedBy(answer);
}

/** @returns the settlement of a request that was never sent: it costs nothing. */
export function unsent(
  { requestId, route, model, conversation, about = {} }: MeterRequest,
  errorType: 'account_unreachable' | 'client_gone',
  startedAt: number,
): Settlement {
  const named = { route, model: model.slice(0, LONGEST_MODEL_NAME), conversation: conversation ?? null };
  const opening = { ...named, about: summedOf(about) };
  const status = errorType === 'client_gone' ? errorType : 'unreachable';
  return { requestId, status, cost: 0, errorType, startedAt, opening };
}

/**
 * @returns the admission, if the account has admitted the request
 * @throws ApiError for every other answer
 */
export function grantedBy(
  answer: AdmissionDecision,
  models?: ModelTable,
): Extract<AdmissionDecision, { outcome: 'admitted' }> {
  switch (answer.outcome) {
    case 'admitted':
      return answer;
    case 'revoked':
      throw revoked();
    case 'withdrawn':
      throw withdrawn(answer.kind, answer.ref);
    case 'refused':
      throw refusalError(answer.refusal, answer.quota, models);
    case 'full':
      throw storageError(answer);
    case 'unpayable':
      throw misconfigured(
        'DEPLOYMENT_LIMITS and groups need the plugin `pools`, and this Worker was made without it: put it into the list.',
      );
    case 'unreachable':
      throw new ObjectUnreachable('pool', answer.damage && new Error(answer.damage));
    case 'count_needed':
      throw finalError('api_error', 'This request could not be bounded. Send a smaller one.');
  }
}

export function revoked(): ApiError {
  return finalError('authentication_error', 'This credential has been revoked. Get a new one.');
}
