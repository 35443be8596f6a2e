import { computed, type Signal, signal } from '@preact/signals';
import { decodeJwt } from 'jose';
import type { Scope } from '../../edge/answers.ts';
import { connectionState, token } from './credential.ts';

/** The restrictions of a restricted token, as far as the page needs them. */
interface TokenRestrictions {
  agents?: readonly string[];
  classifiers?: readonly string[];
  conversations?: readonly string[];
  approvals?: boolean;
}

/** The identity in the token. The page only reads it; the edge verifies it. */
export interface TokenIdentity {
  account: string;
  scopes: readonly string[];
  /** Undefined for a token that is not restricted. */
  only: TokenRestrictions | undefined;
  /** Whether it can change everything. */
  admin: boolean;
  /** Whether it reads what concerns all accounts: an admin, or a token with `admin:read`. */
  operator: boolean;
}

/** The owner mark of a name in a restricted token. Requests omit it. */
const OWN_MARK = /^own:/;

const isGate = computed(() => connectionState.value === 'gate');

/**
 * The identity of the user. Without a token, which only development mode allows, the account is `dev` and has every scope. While
 * the page asks for a token, nobody uses it.
 */
export const identity = computed<TokenIdentity>(() => {
  if (token.value === undefined) return createIdentity(isGate.value ? '' : 'dev', isGate.value ? [] : ['admin']);
  const { sub, scope, only } = parseTokenClaims(token.value);
  const scopes = typeof scope === 'string' ? scope.split(' ') : [];
  return createIdentity(typeof sub === 'string' ? sub : 'dev', scopes, only);
});

function createIdentity(account: string, scopes: readonly string[], only?: unknown): TokenIdentity {
  const admin = scopes.includes('admin');
  return {
    account,
    scopes,
    only: typeof only === 'object' && only !== null ? only : undefined,
    admin,
    operator: admin || scopes.includes('admin:read'),
  };
}

/** @returns whether the token has a scope. For routes that restricted tokens can also use. */
export function hasScope(scope: Scope): boolean {
  const { scopes, admin } = identity.value;
  return admin || scopes.includes(scope);
}

/** @returns whether the token has one of these scopes and is not restricted */
export function hasUnrestrictedScope(...scopes: Scope[]): boolean {
  return !isRestricted() && scopes.some(hasScope);
}

/** @returns whether the token is a restricted token, for a page of the operator */
export function isRestricted(): boolean {
  return identity.value.only !== undefined;
}

/** @returns whether the account of the token can spend: it then has requests of its own */
export function canSendRequests(): boolean {
  return hasScope('messages') || hasScope('classify');
}

/** @returns the names in a restricted token, as requests name them */
export function listRestrictedNames(kind: 'agents' | 'classifiers'): readonly string[] {
  return (identity.value.only?.[kind] ?? []).map((name) => name.replace(OWN_MARK, ''));
}

/**
 * Creates a signal for the user's own input. Only a token of another account resets it, so that an expired token loses no draft.
 *
 * @param empty the value for another account
 */
export function createAccountSignal<T>(initial: T, empty = initial): Signal<T> {
  const created = signal(initial);
  let owner: string | undefined;
  identity.subscribe(({ account }) => {
    if (account === '' || account === owner) return;
    if (owner !== undefined) created.value = empty;
    owner = account;
  });
  return created;
}

function parseTokenClaims(jwt: string): Record<string, unknown> {
  try {
    return decodeJwt(jwt);
  } catch {
    // The text is not a token. The edge rejects it and explains why, so report nothing here.
    return {};
  }
}
