import { computed } from '@preact/signals';
import { decodeJwt } from 'jose';
import { token } from './credential.ts';

/** The identity in the token. The page only reads it; the edge verifies it. */
export interface TokenIdentity {
  account: string;
  /** Whether it can change everything. */
  admin: boolean;
  /** Whether it reads what concerns all accounts: an admin, or a token with `admin:read`. */
  operator: boolean;
  /** Whether it can chat and classify. A token that only reads for operators cannot. */
  canChat: boolean;
}

/** The identity without a token, which only development mode allows: the account `dev` with every scope. */
export const identity = computed<TokenIdentity>(() => {
  if (token.value === undefined) return { account: 'dev', admin: true, operator: true, canChat: true };
  const tokenClaims = parseTokenClaims(token.value);
  const scopes = typeof tokenClaims.scope === 'string' ? tokenClaims.scope.split(' ') : [];
  const account = typeof tokenClaims.sub === 'string' ? tokenClaims.sub : 'dev';
  const admin = scopes.includes('admin');
  const operator = admin || scopes.includes('admin:read');
  return { account, admin, operator, canChat: admin || !operator || scopes.includes('messages') };
});

function parseTokenClaims(jwt: string): Record<string, unknown> {
  try {
    return decodeJwt(jwt);
  } catch {
    // The text is not a token. The edge rejects it and explains why, so report nothing here.
    return {};
  }
}
