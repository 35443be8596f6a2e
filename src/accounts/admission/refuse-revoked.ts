import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import { type AccountRequest, callAccount } from '../../durable/call-account.ts';
import { ApiError } from '../../http/errors.ts';
import type { Identity } from '../../identity/caller.ts';
import { revoked } from './ask-account.ts';

/** Refuses a credential that was revoked. A request that needs none has none. */
export const refuseRevoked = createMiddleware<AppEnv>(async (c, next) => {
  await checkRevoked(c);
  await next();
});

/**
 * Refuses it in the end, on routes that admit a request: admission refuses a revoked credential in a call that is made
 * anyway. Only where such a route refuses before admission does this ask, so that a revoked credential learns nothing from
 * that refusal.
 */
export const refuseRevokedInTheEnd = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  if (c.error instanceof ApiError && c.error.status < 500 && !ASKED.has(c.error.status)) await checkRevoked(c);
});

/** Errors after which the credential need not be checked: its own, and those of an account that was asked. */
const ASKED: ReadonlySet<number> = new Set([401, 429]);

async function checkRevoked(c: Context<AppEnv>): Promise<void> {
  if (c.get('identity') as Identity | undefined) await refuseRevokedCaller(contextOf(c));
}

/** Asks the account whether a credential is revoked, for what is answered without an admission. @throws ApiError 401 if so */
export async function refuseRevokedCaller(request: AccountRequest & { identity: Identity }): Promise<void> {
  const { token } = request.identity;
  if (!token) return;
  const seen = { jti: token.jti, iat: token.issued_at, exp: token.expires_at };
  if (await callAccount(request, (account) => account.isRevoked(seen))) throw revoked();
}
