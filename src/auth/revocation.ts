import { createMiddleware } from 'hono/factory';
import type { AppEnv } from '../env.ts';
import { callAccount, revoked } from '../objects/metering.ts';

/** For routes that admit nothing, and so would not ask the account: refuses a credential that was revoked. */
export const refuseRevoked = createMiddleware<AppEnv>(async (c, next) => {
  const identity = c.get('identity');
  const { token } = identity;
  if (token) {
    const seen = { jti: token.jti, iat: token.issued_at, exp: token.expires_at };
    const request = { identity, accounts: c.env, settings: c.get('settings') };
    if (await callAccount(request, (account) => account.isRevoked(seen))) throw revoked();
  }
  await next();
});
