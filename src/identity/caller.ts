import type { Scope } from './identity.ts';

/** The verified caller of a request. */
export interface Identity {
  account: string;
  scopes: readonly Scope[];
  /** The token that was sent; undefined if none was needed, as in development. */
  token: VerifiedToken | undefined;
  /** The group that the credential names; absent if it names none. */
  group?: string | undefined;
  /** The tags of the request, as `tags.ts` writes them: from the token's claim, otherwise from the request's header. */
  tags?: string | undefined;
  /** A hash of the end user that the request names. */
  user?: string | undefined;
}

/** What an account's object knows about a token, to refuse it once revoked and to list it. The token itself is not stored. */
export interface VerifiedToken {
  /** The token's own id, or for a provider's token without one, a hash of it. */
  jti: string;
  /** Seconds since 1970. */
  issued_at: number | undefined;
  /** Seconds since 1970. */
  expires_at: number | undefined;
  scopes: readonly Scope[];
  label: string | undefined;
  issuer: 'edge' | 'provider';
  /** The mark of its account by the secret that signed it; absent for a provider's token. It shows whether that secret ended. */
  mark?: string | undefined;
}
