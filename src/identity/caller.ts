import type { Scope } from './identity.ts';

/** Who is asking, once the credential has been verified. */
export interface Identity {
  account: string;
  scopes: readonly Scope[];
  /** The token that said so; undefined for development's own account, which needs none. */
  token: VerifiedToken | undefined;
}

/** What the account's object must know of a token to refuse a revoked one and to list those in use. Never the token. */
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
