import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { accountMarks } from '../../auth/account-mark.ts';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import { type AccountRequest, callAccount } from '../../durable/call-account.ts';
import { ApiError } from '../../http/errors.ts';
import type { Identity } from '../../identity/caller.ts';
import { credentialUse, revoked } from './ask-account.ts';

/** Refuses a revoked credential. (Requests without a credential pass: their routes need none.) */
export const refuseRevoked = createMiddleware<AppEnv>(async (c, next) => {
  await checkRevoked(c);
  await next();
});

/**
 * Refuses a revoked credential at the end, for routes with an admission. The admission refuses it anyway, in a call that is
 * needed anyway. This middleware asks only if the route has refused before the admission, so that a revoked credential
 * learns nothing from that refusal.
 */
export const refuseRevokedInTheEnd = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  if (c.error instanceof ApiError && c.error.status < 500 && !ASKED.has(c.error.status)) await checkRevoked(c);
});

/** Errors after which the credential need not be checked: they show that it was checked, or that the account was asked. */
const ASKED: ReadonlySet<number> = new Set([401, 429]);

async function checkRevoked(c: Context<AppEnv>): Promise<void> {
  if (c.get('identity') as Identity | undefined) await refuseRevokedCaller(contextOf(c));
}

/** Asks the account whether a credential is revoked, for answers without an admission. @throws ApiError 401 if it is */
export async function refuseRevokedCaller(request: AccountRequest & { identity: Identity }): Promise<void> {
  if (await isRevokedCaller(request)) throw revoked();
}

/**
 * Asks the account whether a credential is revoked. An expired one is not: what it began may go on.
 *
 * @returns true also if the secret that signed it is none of the deployment's any more
 * @throws ObjectUnreachable 503 while the account's object cannot be reached
 */
export async function isRevokedCaller(request: AccountRequest & { identity: Identity }): Promise<boolean> {
  const { account, token } = request.identity;
  if (!token) return false;
  const { mark } = token;
  if (mark !== undefined && !(await accountMarks(account, request.settings)).includes(mark)) return true;
  const seen = credentialUse(request.identity) ?? {};
  return await callAccount(request, (object) => object.isRevoked(seen));
}
