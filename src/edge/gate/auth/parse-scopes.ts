import { SCOPES, type Scope } from '../identity/identity.ts';

/** The scopes of an identity provider's token whose `scope` claim names no scope of this edge. */
export const PROVIDER_DEFAULT: readonly Scope[] = ['messages', 'classify'];

/**
 * @param claim names separated by spaces, or a list of names
 * @returns those names that are scopes of this edge
 */
export function parseScopes(claim: unknown): Scope[] {
  const names = Array.isArray(claim) ? claim : typeof claim === 'string' ? claim.split(' ') : [];
  return SCOPES.filter((scope) => names.includes(scope));
}
