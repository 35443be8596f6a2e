import { computed } from '@preact/signals';
import { token } from './client.ts';

/** Who is asking, as their token says; the edge verifies it, this page only reads it. */
export interface Identity {
  account: string;
  admin: boolean;
}

/** Development mode needs no token: then it is the account `dev`, which may do everything. */
export const identity = computed<Identity>(() => {
  if (token.value === undefined) return { account: 'dev', admin: true };
  const claims = claimsOf(token.value);
  const scopes = typeof claims.scope === 'string' ? claims.scope.split(' ') : [];
  return { account: typeof claims.sub === 'string' ? claims.sub : 'dev', admin: scopes.includes('admin') };
});

function claimsOf(jwt: string): Record<string, unknown> {
  try {
    const payload = (jwt.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
  } catch {
    // What is no token is refused by the edge, which says why.
    return {};
  }
}
