import { computed } from '@preact/signals';
import { decodeJwt } from 'jose';
import { token } from './client.ts';

/** The identity in the token. The page only reads it; the edge verifies it. */
export interface TokenIdentity {
  account: string;
  admin: boolean;
}

/** The identity without a token, which only development mode allows: the account `dev` with every scope. */
export const identity = computed<TokenIdentity>(() => {
  if (token.value === undefined) return { account: 'dev', admin: true };
  const tokenClaims = parseTokenClaims(token.value);
  const scopes = typeof tokenClaims.scope === 'string' ? tokenClaims.scope.split(' ') : [];
  return { account: typeof tokenClaims.sub === 'string' ? tokenClaims.sub : 'dev', admin: scopes.includes('admin') };
});

function parseTokenClaims(jwt: string): Record<string, unknown> {
  try {
    return decodeJwt(jwt);
  } catch {
    // If this is not a token, the edge refuses it and says why.
    return {};
  }
}
