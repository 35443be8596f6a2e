import { SCOPES, type Scope } from '../identity/identity.ts';

/** What a provider's token may do when its `scope` claim names none of ours. */
export const PROVIDER_DEFAULT: readonly Scope[] = ['messages', 'classify'];

/** @returns those of the names, separated by spaces or listed, that are scopes here; others are somebody else's. */
export function parseScopes(claim: unknown): Scope[] {
  const names = Array.isArray(claim) ? claim : typeof claim === 'string' ? claim.split(' ') : [];
  return SCOPES.filter((scope) => names.includes(scope));
}
