import type { Scope } from './identity.ts';

/** Who is asking, once the credential has been verified. */
export interface Identity {
  account: string;
  scopes: readonly Scope[];
  /** The token that was sent; undefined if none was needed, as in development. */
  token: VerifiedToken | undefined;
  /** The group that the credential names; absent where it names none. */
  group?: string | undefined;
  /** What the request is for, as `tags.ts` writes it: by the token's claim, else by the request's header. */
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
}
