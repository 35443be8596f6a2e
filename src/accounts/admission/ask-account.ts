/** What is said between a request and its account's object, when it asks to be admitted. */

import { pause } from '../../async/pause.ts';
import type { RequestContext } from '../../auth/context.ts';
import { putOnList } from '../../auth/list-account.ts';
import { type AccountRequest, callAccountAlong } from '../../durable/call-account.ts';
import { ObjectUnreachable } from '../../durable/call-object.ts';
import type { AdmissionDecision, AdmissionRequest } from '../../durable/contracts/admission.ts';
import { type ApiError, finalError } from '../../http/errors.ts';
import type { Identity } from '../../identity/caller.ts';
import type { Settings } from '../../settings/settings.ts';
import { defaultLimits } from './default-limits.ts';
import { refusalError, storageError } from './limit-headers.ts';
import type { MeterRequest } from './metered-request.ts';

/** @returns what every request tells its account. */
export function admissionRequestOf(
  request: Pick<
    MeterRequest,
    'requestId' | 'route' | 'model' | 'conversation' | 'parent' | 'prefix' | 'agent' | 'identity' | 'settings'
  >,
): AdmissionRequest {
  const { requestId, route, model, conversation, parent, prefix, agent, identity, settings } = request;
  const { token } = identity;
  return {
    requestId,
    route,
    model,
    conversation,
    parent,
    prefix,
    agent,
    token: token && { jti: token.jti, iat: token.issued_at, exp: token.expires_at },
    tags: identity.tags,
    user: identity.user,
    defaults: defaultLimits(identity.account, settings),
    pools: poolsOf(identity, settings),
  };
}

/** @returns the pools that pay for an account's requests too, as far as they are known here; undefined where none does. */
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
  return await callAccountAlong<AdmissionDecision>(request, (account, along) => account.admitJson(text, along));
}

/**
 * Does what `askForAdmission` does, and puts an account that is not on the list of accounts there: also one that was refused,
 * so that an admin finds out why.
 *
 * @throws ObjectUnreachable as `askForAdmission`
 */
export async function askAndList(
  request: AccountRequest & Pick<RequestContext, 'store' | 'waitUntil'>,
  admissionRequest: AdmissionRequest,
): Promise<AdmissionDecision> {
  const decision = await askForAdmission(request, admissionRequest);
  if ('unlisted' in decision && decision.unlisted) request.waitUntil(putOnList(request));
  return decision;
}

/** Pauses, in milliseconds, before a request asks again that only the holds of others keep out. */
const ASK_AGAIN_MS = [500, 1_000];

/** Asks up to two times more where only the holds of others keep a request out: they are soon settled. */
export async function askAgainWhileHeld(
  request: MeterRequest,
  admissionRequest: AdmissionRequest,
): Promise<AdmissionDecision> {
  let answer = await askAndList(request, admissionRequest);
  for (const wait of ASK_AGAIN_MS) {
    if (answer.outcome !== 'refused' || answer.refusal.reason !== 'held' || request.signal?.aborted) break;
    await pause(wait * (0.75 + Math.random() / 2));
    answer = await askAndList(request, admissionRequest);
  }
  return answer;
}

/**
 * @returns the admission that an account has answered with
 * @throws ApiError for every other answer
 */
export function grantedBy(answer: AdmissionDecision): Extract<AdmissionDecision, { outcome: 'admitted' }> {
  switch (answer.outcome) {
    case 'admitted':
      return answer;
    case 'revoked':
      throw revoked();
    case 'refused':
      throw refusalError(answer.refusal, answer.standing);
    case 'full':
      throw storageError(answer);
    case 'unreachable':
      throw new ObjectUnreachable('pool', undefined);
    case 'count_needed':
      throw finalError('api_error', 'This request could not be bounded. Send a smaller one.');
  }
}

/** @returns the 401 for a credential that was revoked. */
export function revoked(): ApiError {
  return finalError('authentication_error', 'This credential has been revoked. Get a new one.');
}
