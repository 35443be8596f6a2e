/** Rejects revoked credentials, also on routes that call no model, and limits the requests of each account to these routes. */

import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { getAllAccountMarks } from '../../auth/account-mark.ts';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import type { Identity } from '../../auth/identity/caller.ts';
import { isAdminScope } from '../../auth/identity/identity.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { type AdmissionDecision, FREE_REQUESTS_LIMIT, type RateLimitedRequest } from '../contracts/admission.ts';
import { type AccountTarget, callAccount } from '../contracts/call-account.ts';
import { requireAdmittedDecision, toCredentialUse } from './request-admission.ts';

/** The end of the path by which a stream is resumed. A conversation may be called `stream`, too. */
const STREAM_SUFFIX = /conversations\/[^/]{1,200}\/stream$/;

type CallerToCheck = AccountTarget & { identity: Identity };

/**
 * Rejects a revoked credential, and counts the request in the limit on requests to routes that call no model. (Requests without a
 * credential pass: their routes need none.)
 */
export const refuseRevoked = createMiddleware<AppEnv>(async (c, next) => {
  await requireUnrevokedCredential(c);
  await next();
});

/**
 * Rejects a revoked credential after the route has run, for routes with an admission. The admission rejects it in a call that
 * is needed anyway. This middleware checks the credential only if the route failed before the admission, so that the holder of
 * a revoked credential learns nothing from that error.
 */
export const refuseRevokedAfterwards = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  const identity = c.get('identity') as Identity | undefined;
  const mayBeUnchecked = c.error instanceof ApiError && c.error.status < 500 && !CHECKED_ERRORS.has(c.error.status);
  if (identity && mayBeUnchecked) await requireUnrevokedCaller(getRequestContext(c));
});

/** Errors after which the credential need not be checked: they show that it was checked, or that the account was asked. */
const CHECKED_ERRORS: ReadonlySet<number> = new Set([401, 429]);

/**
 * Checks the credential, and counts the request in its account's limit on requests to routes that call no model.
 *
 * @throws ApiError 401 if it is revoked, 429 for one request too many
 */
export async function requireUnrevokedCredential(c: Context<AppEnv>): Promise<void> {
  const identity = c.get('identity') as Identity | undefined;
  if (!identity) return;
  await requireUnrevokedCaller(getRequestContext(c), createRateLimitedRequest(c, identity));
}

/** @returns the request as its limit counts it; undefined if no limit applies */
function createRateLimitedRequest(
  c: Context<AppEnv>,
  { only, scopes, token }: Identity,
): RateLimitedRequest | undefined {
  // Do not limit the requests of an operator's token: the operator's page and Prometheus read often, and a backup reads
  // everything.
  if (scopes.some(isAdminScope)) return undefined;
  const { endsSpending, tokenLimit } = c.get('route') ?? {};
  if (tokenLimit) {
    const { name, requestsPerMinute: limit } = tokenLimit;
    return { bucket: `${name} ${token?.jti}`, name, by: 'token', limit };
  }
  if (endsSpending) return undefined;
  const { READS_PER_MINUTE, BOUND_READS_PER_MINUTE } = c.get('settings');
  const stream = c.req.method === 'GET' ? STREAM_SUFFIX.exec(c.req.path)?.[0] : undefined;
  // Restricted tokens have a separate bucket, so that a page cannot block the account's servers.
  const [bucket, limit] = only ? ['bound reads', BOUND_READS_PER_MINUTE] : ['reads', READS_PER_MINUTE];
  return { bucket, name: FREE_REQUESTS_LIMIT, by: 'account', limit, stream };
}

/**
 * Checks with the account whether a credential may be used, for responses without an admission.
 *
 * @param counted the request that is counted in the same call, and without a token, too
 * @throws ApiError 401 if the credential is revoked, 403 if its account is blocked, 429 for one request too many
 */
export async function requireUnrevokedCaller(request: CallerToCheck, counted?: RateLimitedRequest): Promise<void> {
  // Without a token, only a counted request needs the call. In development, this saves the call.
  if (!request.identity.token && !counted) return;
  const rejection = await findCredentialRejection(request, counted);
  if (rejection) requireAdmittedDecision(rejection);
}

/**
 * Checks with the account why turns of a caller may not continue. An expired credential is no reason.
 *
 * @returns `revoked` also if the secret that signed the credential is no longer configured; undefined if they may continue
 * @throws ObjectUnreachableError 503 while the account's object cannot be reached
 */
export async function findCredentialRejection(
  request: CallerToCheck,
  counted?: RateLimitedRequest,
): Promise<AdmissionDecision | undefined> {
  const { account, token } = request.identity;
  const mark = token?.mark;
  if (mark !== undefined && !(await getAllAccountMarks(account, request.settings)).includes(mark))
    return { outcome: 'revoked' };
  const use = toCredentialUse(request.identity);
  const text = counted && JSON.stringify(counted);
  const answer = await callAccount(request, (object) => object.isTokenRevoked(use, text));
  if (typeof answer === 'string') return JSON.parse(answer) as AdmissionDecision;
  return answer ? { outcome: 'revoked' } : undefined;
}
