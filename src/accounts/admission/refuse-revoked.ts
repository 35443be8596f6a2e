import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import { type AccountRequest, callAccount } from '../../durable/call-account.ts';
import { ApiError } from '../../http/errors.ts';
import type { Identity } from '../../identity/caller.ts';
import { revoked } from './ask-account.ts';

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
  const { token } = request.identity;
  if (!token) return;
  const seen = { jti: token.jti, iat: token.issued_at, exp: token.expires_at };
  if (await callAccount(request, (account) => account.isRevoked(seen))) throw revoked();
}
