import {
  createRemoteJWKSet,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
  jwtVerify,
} from 'jose';
import type { Settings } from '../config/settings.ts';
import { getOrCreate } from '../kit/cache/get-or-create.ts';
import { createLruCache, type LruCache } from '../kit/cache/lru.ts';
import { encodeUtf8, sha256Hex } from '../kit/http/bytes.ts';
import { ApiError, createNonRetryableError, createRetryableError } from '../kit/http/errors.ts';
import { isObject } from '../kit/json/object.ts';
import { getCachedOrComputeMark } from './account-mark.ts';
import { resolveGroupFromClaims } from './group-claim.ts';
import { type Identity, LEEWAY_S, type TokenRenewal, type VerifiedToken } from './identity/caller.ts';
import {
  isAccountName,
  isAdminScope,
  isSourceAccount,
  isTokenId,
  isVisitor,
  PROVIDER_DEFAULT,
  parseScopes,
} from './identity/identity.ts';
import { filterRestrictedScopes } from './identity/only.ts';
import { parseTagsClaim } from './identity/tags.ts';
import { TOKEN_ALGORITHM } from './mint.ts';
import { readTokenRestrictionsFromClaims } from './only-claim.ts';

/** Algorithms of an identity provider's tokens. All use a private key, since a shared secret would have to be given away. */
const PROVIDER_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];

/** How many verified tokens an isolate remembers. */
const MAX_VERIFIED_TOKENS = 5_000;
/** How many keys without an id are tried for one token. */
const MAX_KEYS_TRIED = 4;
/** Milliseconds for which it is remembered that the provider's keys could not be read. */
const KEYS_FAILURE_MS = 2_000;

/** The state that an isolate caches for its settings, because verifying a token costs more than relaying a request. */
interface TokenVerifierState {
  verifiedTokens: LruCache<string, Identity>;
  provider: JWTVerifyGetKey | undefined;
}

const verifiers = new WeakMap<Settings, TokenVerifierState>();

/**
 * Verifies a credential: a token of this edge, or of the identity provider.
 *
 * @returns its account and its permissions
 * @throws ApiError 401 for a credential that is not valid; 503 if the provider's keys cannot be read
 */
export async function verifyToken(token: string, settings: Settings, now = Date.now()): Promise<Identity> {
  const earlier = findCachedVerifiedIdentity(token, settings, now);
  if (earlier) return earlier;
  const verifier = getTokenVerifierState(settings);
  const identity = await verifyUncachedToken(token, settings, verifier, now);
  verifier.verifiedTokens.set(token, identity);
  return identity;
}

/** @returns the owner of a credential, if this isolate has verified it before and it has not expired. */
export function findCachedVerifiedIdentity(token: string, settings: Settings, now = Date.now()): Identity | undefined {
  const { verifiedTokens: remembered } = getTokenVerifierState(settings);
  const earlier = remembered.get(token);
  const leeway = earlier?.token?.issuer === 'provider' ? LEEWAY_S : 0;
  if (!earlier || ((earlier.token?.expires_at ?? Number.POSITIVE_INFINITY) + leeway) * 1_000 > now) return earlier;
  remembered.delete(token);
  return undefined;
}

/** @returns whether a string has the form of a JWT: three parts, the first a header. */
export function isJwt(credential: string): boolean {
  return /^eyJ[\w-]*\.[\w-]*\.[\w-]*$/.test(credential);
}

/** @returns the 401 for a credential that is absent or not valid. */
export function createUnauthenticatedError(message: string): ApiError {
  return createNonRetryableError('authentication_error', message);
}

/**
 * Refuses the account of a source of webhooks, which only pays, and that of a visitor, which has no login.
 *
 * @throws ApiError 401 for such an account
 */
export function rejectReservedAccount(account: string): void {
  if (isVisitor(account))
    throw createUnauthenticatedError(
      'This deployment does not accept visitors, or this account is not a visitor. Get a new token from the page.',
    );
  if (!isSourceAccount(account)) return;
  throw createUnauthenticatedError(
    'Accounts named `webhook-…` pay for webhooks and cannot log in. Use another account.',
  );
}

function getTokenVerifierState(settings: Settings): TokenVerifierState {
  return getOrCreate(verifiers, settings, () => {
    const { JWKS_URL: url } = settings;
    const provider = url === undefined ? undefined : createProviderKeys(new URL(url));
    return { verifiedTokens: createLruCache(MAX_VERIFIED_TOKENS), provider };
  });
}

function createProviderKeys(url: URL): JWTVerifyGetKey {
  const keys = createRemoteJWKSet(url);
  /** The last failure to read them, and until when it is remembered: not every request waits for a provider that is down. */
  let failed: { thrown: unknown; until: number } | undefined;
  return async (header, token) => {
    try {
      if (failed && Date.now() < failed.until) throw failed.thrown;
      return await keys(header, token);
    } catch (thrown) {
      if (thrown instanceof errors.JWKSNoMatchingKey || thrown instanceof errors.JWKSMultipleMatchingKeys) throw thrown;
      if (failed?.thrown !== thrown) failed = { thrown, until: Date.now() + KEYS_FAILURE_MS };
      // The credential may be valid, so return an error that callers retry instead of a 401.
      const message = 'The identity provider’s keys could not be read. Try again in a moment.';
      throw createRetryableError(message, 'jwks_unavailable', { seconds: 5, cause: thrown });
    }
  };
}

async function verifyUncachedToken(
  token: string,
  settings: Settings,
  verifier: TokenVerifierState,
  now: number,
): Promise<Identity> {
  const { SIGNING_SECRET, SIGNING_SECRET_PREVIOUS } = settings;
  const secrets = [SIGNING_SECRET, SIGNING_SECRET_PREVIOUS].filter((secret) => secret !== undefined);
  const currentDate = new Date(now);
  try {
    if (decodeProtectedHeader(token).alg === TOKEN_ALGORITHM) {
      const { payload, secret } = await verifyWithSecrets(token, secrets, currentDate);
      rejectFutureToken(payload, now);
      const identity = await createIdentity(token, payload, 'edge', true, settings);
      if (identity.token) identity.token.mark = await getCachedOrComputeMark(secret, identity.account);
      return identity;
    }
    if (!verifier.provider)
      throw createUnauthenticatedError(
        'This credential was not issued for this deployment. Ask its operator for a token.',
      );
    const payload = await verifyWithProvider(token, verifier.provider, {
      algorithms: PROVIDER_ALGORITHMS,
      issuer: settings.JWT_ISSUER ?? [],
      audience: settings.JWT_AUDIENCE ?? [],
      requiredClaims: ['sub', 'exp'],
      clockTolerance: LEEWAY_S,
      currentDate,
    });
    rejectFutureToken(payload, now);
    return await createIdentity(token, payload, 'provider', settings.JWT_ADMIN === 'true', settings);
  } catch (thrown) {
    throw toUnauthenticatedError(thrown);
  }
}

/**
 * Rejects a token that is dated further ahead than a clock may be wrong: it would outlive the revocation of all tokens.
 *
 * @throws ApiError 401 for such a token
 */
function rejectFutureToken({ iat }: JWTPayload, now: number): void {
  if (iat === undefined || iat * 1_000 <= now + LEEWAY_S * 1_000) return;
  throw createUnauthenticatedError(
    `This credential is dated more than ${LEEWAY_S} seconds in the future (its claim \`iat\`). The issuer must correct its clock. Then get a new credential.`,
  );
}

/** Verifies with the provider's key that the token names. Of keys without an id, each that fits its algorithm is tried. */
async function verifyWithProvider(
  token: string,
  keys: JWTVerifyGetKey,
  options: JWTVerifyOptions,
): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, keys, options)).payload;
  } catch (thrown) {
    if (!(thrown instanceof errors.JWKSMultipleMatchingKeys)) throw thrown;
    let tried = 0;
    for await (const key of thrown) {
      tried += 1;
      try {
        return (await jwtVerify(token, key, options)).payload;
      } catch (failure) {
        const isOtherKey = failure instanceof errors.JWSSignatureVerificationFailed;
        if (!isOtherKey || tried >= MAX_KEYS_TRIED) throw failure;
      }
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}

/** Verifies with each secret in turn. During a rotation the earlier secret is also valid. */
async function verifyWithSecrets(
  token: string,
  secrets: readonly string[],
  currentDate: Date,
): Promise<{ payload: JWTPayload; secret: string }> {
  let failure: unknown = createUnauthenticatedError(
    'This credential was not issued for this deployment. Ask its operator for a token.',
  );
  for (const secret of secrets) {
    try {
      const key = encodeUtf8(secret);
      const { payload } = await jwtVerify(token, key, { algorithms: [TOKEN_ALGORITHM], currentDate });
      return { payload, secret };
    } catch (thrown) {
      failure = thrown;
      if (!(thrown instanceof errors.JWSSignatureVerificationFailed)) break;
    }
  }
  throw failure;
}

/**
 * @param mayBeAdmin whether to accept `admin` and the scopes that begin with `admin:`. A person that defines a provider's
 *   claims need not be an admin of this edge
 */
async function createIdentity(
  token: string,
  claims: JWTPayload,
  issuer: VerifiedToken['issuer'],
  mayBeAdmin: boolean,
  settings: Settings,
): Promise<Identity> {
  if (!isAccountName(claims.sub)) {
    throw createUnauthenticatedError(
      'The account of this credential (its claim `sub`) must have 1 to 128 characters. Ask the issuer for a valid credential.',
    );
  }
  // Only tokens that this deployment has created may name a visitor's account. Reject any other token that does.
  const visitors = issuer === 'edge' && isVisitor(claims.sub) ? settings.VISITORS : undefined;
  if (!visitors) rejectReservedAccount(claims.sub);
  const named = parseScopes(claims.scope).filter((scope) => mayBeAdmin || !isAdminScope(scope));
  const only = readTokenRestrictionsFromClaims(claims, issuer, settings);
  const scopes = filterRestrictedScopes(issuer === 'provider' && named.length === 0 ? PROVIDER_DEFAULT : named, only);
  const group = visitors?.group ?? resolveGroupFromClaims(claims, issuer, settings);
  return {
    account: claims.sub,
    scopes,
    ...(group === undefined ? {} : { group }),
    tags: parseTagsClaim(claims.tags),
    ...(only && { only }),
    token: {
      jti: isTokenId(claims.jti) ? claims.jti : await hashToTokenId(token),
      issued_at: claims.iat,
      expires_at: claims.exp,
      scopes,
      session: issuer === 'edge' ? parseSessionClaim(claims.session) : undefined,
      label: typeof claims.label === 'string' ? claims.label : undefined,
      issuer,
    },
  };
}

function parseSessionClaim(claim: unknown): TokenRenewal | undefined {
  if (!isObject(claim)) return undefined;
  const { end, seconds } = claim;
  return typeof end === 'number' && typeof seconds === 'number' ? { end, seconds } : undefined;
}

/**
 * Makes an id for a token that has none, so that it can be revoked too. The signature is left out: the same signature can be
 * written in several ways (unused bits of its last character, an elliptic curve's other half), so that a revoked token would
 * get a new id.
 */
async function hashToTokenId(token: string): Promise<string> {
  const signed = token.slice(0, token.lastIndexOf('.'));
  return `sha256-${(await sha256Hex(encodeUtf8(signed))).slice(0, 32)}`;
}

function toUnauthenticatedError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  if (thrown instanceof errors.JWTExpired)
    return createUnauthenticatedError('This credential has expired. Get a new one.');
  if (thrown instanceof errors.JWTClaimValidationFailed) {
    return createUnauthenticatedError(
      `This credential is not valid for this deployment, because its claim \`${thrown.claim}\` is not accepted. Ask the issuer for a valid credential.`,
    );
  }
  return createUnauthenticatedError(
    'This credential is invalid. It is malformed, was changed, or was signed with another key. Get a new one.',
  );
}
