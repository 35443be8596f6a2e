import { type JWTPayload, SignJWT } from 'jose';
import { encodeUtf8 } from '../kit/http/bytes.ts';
import { createInvalidRequestError } from '../kit/http/errors.ts';
import { getCachedOrComputeMark } from './account-mark.ts';
import type { TokenRenewal } from './identity/caller.ts';
import { isAdminScope, type Scope } from './identity/identity.ts';
import type { TokenRestrictions } from './identity/only.ts';

/** The contents of a new token. */
export interface MintOptions {
  account: string;
  scopes: readonly Scope[];
  /**
   * Seconds from now. Default: 15 minutes for a restricted token, 30 days with `admin` or a scope that begins with `admin:`;
   * otherwise valid until it is revoked.
   */
  expiresIn?: number | undefined;
  label?: string | undefined;
  /** The tags under which the ledger books its requests. The caller cannot choose others. */
  tags?: Record<string, string> | undefined;
  /** Its restrictions, if it is a restricted token. */
  only?: TokenRestrictions | undefined;
  /** How it can be renewed. */
  session?: TokenRenewal | undefined;
  /** For a renewed token: the id and the time (seconds since 1970) of the one before, so that revocations hold for both. */
  renews?: { jti: string; issuedAt: number } | undefined;
}

export interface MintedCredential {
  token: string;
  jti: string;
  account: string;
  scopes: readonly Scope[];
  /** Seconds since 1970. */
  issued_at: number;
  /** Seconds since 1970. */
  expires_at: number | undefined;
}

/** How long a token that reaches all accounts is valid by default. */
const DEFAULT_ADMIN_TOKEN_SECONDS = 30 * 86_400;
/** How long a restricted token is valid by default. A page cannot keep it secret. */
const DEFAULT_RESTRICTED_TOKEN_SECONDS = 15 * 60;
/** The longest credential that is read. A token with the most names, conversations and origins has about 40,000. */
export const MAX_CREDENTIAL_CHARACTERS = 65_536;
/** The only algorithm of this edge's own tokens. */
export const TOKEN_ALGORITHM = 'HS256';

/**
 * Creates a credential of this edge: a JWT with its account and its permissions.
 *
 * @param secret the setting SIGNING_SECRET
 * @throws ApiError 400 for a token that would be too long to be read
 */
export async function mintToken(secret: string, options: MintOptions, now = Date.now()): Promise<MintedCredential> {
  const second = Math.floor(now / 1_000);
  const { jti, issuedAt } = options.renews ?? {
    jti: createTokenId(await getCachedOrComputeMark(secret, options.account)),
    issuedAt: second,
  };
  const expiresIn = options.expiresIn ?? getDefaultLifetime(options);
  const expiresAt = expiresIn === undefined ? undefined : second + expiresIn;
  const claims: JWTPayload = { scope: options.scopes.join(' ') };
  if (options.label !== undefined) claims.label = options.label;
  if (options.tags !== undefined) claims.tags = options.tags;
  if (options.only !== undefined) claims.only = options.only;
  if (options.session !== undefined) claims.session = options.session;
  const jwt = new SignJWT(claims)
    .setProtectedHeader({ alg: TOKEN_ALGORITHM, typ: 'JWT' })
    .setSubject(options.account)
    .setJti(jti)
    .setIssuedAt(issuedAt);
  if (expiresAt !== undefined) jwt.setExpirationTime(expiresAt);
  const token = await jwt.sign(encodeUtf8(secret));
  if (token.length > MAX_CREDENTIAL_CHARACTERS)
    throw createInvalidRequestError(
      `The token would have ${token.length} characters. At most ${MAX_CREDENTIAL_CHARACTERS} are allowed. Shorten \`only\`: list fewer or shorter names, conversations and origins.`,
    );
  return { token, jti, account: options.account, scopes: options.scopes, issued_at: issuedAt, expires_at: expiresAt };
}

/** @returns the seconds for which a token is valid by default; undefined for a token that does not expire */
function getDefaultLifetime({ scopes, only }: Pick<MintOptions, 'scopes' | 'only'>): number | undefined {
  if (only !== undefined) return DEFAULT_RESTRICTED_TOKEN_SECONDS;
  return scopes.some(isAdminScope) ? DEFAULT_ADMIN_TOKEN_SECONDS : undefined;
}

const RANDOM_ID_CHARACTERS = 24;

/** Creates the id of a token. It contains the mark of its account, with which the operator can find the account. */
function createTokenId(mark: string): string {
  return `tok_${mark}_${crypto.randomUUID().replaceAll('-', '').slice(0, RANDOM_ID_CHARACTERS)}`;
}

/** @returns the characters of a token's id that may be the mark of its account; undefined if the id has none */
export function extractMarkOfToken(jti: string): string | undefined {
  return /^tok_([0-9a-z]{8})_[0-9a-f]+$/.exec(jti)?.[1];
}
