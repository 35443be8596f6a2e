import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import type { Settings } from '../config/settings.ts';
import {
  ApiError,
  createInvalidRequestError,
  createMisconfiguredError,
  createNonRetryableError,
  createRestrictedTokenError,
} from '../kit/http/errors.ts';
import { insertAccountMark } from '../kit/http/headers/request-id.ts';
import { getAccountMark } from './account-mark.ts';
import type { AppEnv, Authenticate } from './context.ts';
import { callerSchema, type Identity } from './identity/caller.ts';
import { getMemorySharingGroup, isVisitor, SCOPES, type Scope } from './identity/identity.ts';
import { filterRestrictedScopes, type TokenRestrictions } from './identity/only.ts';
import { INVALID_TAGS_MESSAGE, parseTagsClaim, parseTagsHeader } from './identity/tags.ts';
import { locateRequest } from './locate-request.ts';
import { isPossibleDnsRebinding } from './loopback.ts';
import { MAX_CREDENTIAL_CHARACTERS } from './mint.ts';
import { canUseRestrictedTokens, isFromOriginAllowedByToken, isOpenToRestrictedTokens } from './restricted-routes.ts';
import {
  createUnauthenticatedError,
  findCachedVerifiedIdentity,
  isJwt,
  rejectReservedAccount,
  verifyToken,
} from './verify.ts';

const INVALID_ACCOUNT_MESSAGE =
  'The account of this credential must have 1 to 128 characters. Ask the issuer for a valid credential.';

/** The account of development mode, which needs no credential. */
const DEVELOPER_IDENTITY: Identity = { account: 'dev', scopes: SCOPES, token: undefined };

/**
 * The bearer that a development server takes as no credential. The official SDK 1.x cannot be created without a key, and
 * sends it as a bearer.
 */
const PLACEHOLDER_BEARER = 'any';

const BEARER_SCHEME = 'bearer';

const UNPROVEN_ORIGIN_MESSAGE =
  'This request needs a token, because it may come from a web page, and ANTHROPIC_API_KEY is set. Send the token that this command prints: npm run token -- --account dev --scopes admin';

/**
 * Identifies the caller, before any data of an account is read or changed: first by the Worker's own function, if there is one.
 * Sets `identity`.
 *
 * @throws ApiError 401 if the caller cannot be identified
 */
export async function authenticateRequest(c: Context<AppEnv>): Promise<void> {
  const own = c.get('app').authenticate;
  const identity = (own && (await identifyByAuthenticateHook(own, c))) ?? (await identifyCaller(c, own !== undefined));
  const { line } = c.get('entry');
  line.account = identity.account;
  const requestId = insertAccountMark(c.get('requestId'), await getAccountMark(identity.account, c.get('settings')));
  c.set('requestId', requestId);
  line.request_id = requestId;
  const { account, token } = identity;
  c.get('bodyMemory').setSender({ account, token: token?.jti, group: getMemorySharingGroup(account) });
  if (identity.only) checkRestrictedRoute(c, identity.only);
  c.set('identity', addLocation(applyTagsHeader(identity, c.req.raw.headers.get('sluice-tags')), c));
}

/** Adds from where a token is used, which is recorded to find leaked tokens. Visitors, and users of a page, are not located. */
function addLocation(identity: Identity, c: Context<AppEnv>): Identity {
  const { account, token, only } = identity;
  if (!token || token.session || only || isVisitor(account) || c.get('settings').TOKEN_LOCATIONS === 'false')
    return identity;
  return { ...identity, location: locateRequest(c.req.raw, Date.now()) };
}

/** @throws ApiError 403 for a restricted token on a route that is closed to it, or from an origin that it does not name */
function checkRestrictedRoute(c: Context<AppEnv>, only: TokenRestrictions): void {
  if (!canUseRestrictedTokens())
    throw createRestrictedTokenError(
      'Restricted tokens require the plugin `agents`, which this deployment does not include. Ask its operator to add it.',
    );
  if (!isFromOriginAllowedByToken(only, c.req.raw)) {
    const origins = only.origins?.join(', ');
    throw createRestrictedTokenError(
      `This credential is restricted to pages of ${origins}. Send it from one of these pages, or get a token whose \`origins\` include yours.`,
    );
  }
  if (isOpenToRestrictedTokens(c)) return;
  throw createRestrictedTokenError(
    'This credential cannot use this route. It can send POST /messages with one of its agents, and POST /classify with one of its classifiers. For other routes, use a token without `only`.',
  );
}

/** @throws ApiError 400 for malformed tags in the header. If the token has tags or is restricted, the header does not count */
function applyTagsHeader(identity: Identity, header: string | null): Identity {
  if (header === null || identity.tags !== undefined || identity.only) return identity;
  const tags = parseTagsHeader(header);
  if (tags === undefined) throw createInvalidRequestError(`sluice-tags: ${INVALID_TAGS_MESSAGE}.`);
  return { ...identity, tags };
}

async function identifyByAuthenticateHook(
  authenticate: Authenticate,
  c: Context<AppEnv>,
): Promise<Identity | undefined> {
  const request = c.req.raw;
  const caller = await authenticate(request, c);
  if (request.bodyUsed)
    throw createMisconfiguredError(
      '`authenticate` consumed the request body. Read the body of request.clone() instead.',
    );
  if (caller === undefined) return undefined;
  const { data, error } = callerSchema.safeParse(caller);
  if (error) {
    // The Worker's function may have taken the account's name from the request, so an invalid name is a 401. Any other fault is
    // a bug in that function, and a 500.
    if (error.issues.every(({ path }) => path[0] === 'account'))
      throw createUnauthenticatedError(INVALID_ACCOUNT_MESSAGE);
    const fields = error.issues.map(({ path, message }) => `${path.join('.')} (${message})`).join('; ');
    throw createMisconfiguredError(
      `\`authenticate\` returned an invalid identity: ${fields}. The operator must correct this function.`,
    );
  }
  const { account, token, group, only } = data;
  const scopes = filterRestrictedScopes(data.scopes, only);
  const tags = data.tags && parseTagsClaim(data.tags);
  rejectReservedAccount(account);
  if (!token) return { account, scopes, token: undefined, tags, group, only };
  const { jti, issued_at, expires_at } = token;
  const verified = { jti, issued_at, expires_at, scopes, label: undefined, issuer: 'provider' as const };
  return { account, scopes, token: verified, tags, group, only };
}

function identifyCaller(c: Context<AppEnv>, hasOwn: boolean): Identity | Promise<Identity> {
  const settings = c.get('settings');
  const sent = readCredentials(c.req.raw.headers);
  const credentials = Object.values(sent).filter((credential) => credential !== undefined && credential !== '');
  const tokens = credentials.filter(isJwt);
  const [token] = tokens;
  if (settings.isOpen && token === undefined) {
    rejectPlaceholderToken(sent);
    if (settings.hasKey && isPossibleDnsRebinding(c)) throw createUnauthenticatedError(UNPROVEN_ORIGIN_MESSAGE);
    return DEVELOPER_IDENTITY;
  }
  if (settings.SIGNING_SECRET === undefined && settings.JWKS_URL === undefined) {
    if (hasOwn) throw createUnauthenticatedError('This request is not authenticated. Log in, and send it again.');
    throw createMisconfiguredError(
      'This deployment cannot verify credentials, because it has neither SIGNING_SECRET nor JWKS_URL. Its operator must set one of them.',
    );
  }
  if (token !== undefined)
    return findCachedVerifiedIdentity(token, settings) ?? verifyTokensUntilValid(tokens, settings);
  throw createUnauthenticatedError(describeMissingToken(c.req.raw.headers, sent));
}

/** @returns why a request without a JWT is rejected */
function describeMissingToken(headers: Headers, { bearer, key }: RequestCredentials): string {
  if (bearer !== undefined && UNSET_VALUES.has(bearer)) {
    return `Authorization: the bearer is the text \`${bearer}\`, so your code has no token. Log in again, or ask this deployment’s operator for a token.`;
  }
  if (bearer || key) return 'This is not a token of this deployment. Log in again, or ask its operator for a token.';
  return headers.has('authorization')
    ? 'Authorization: must have the form `Bearer TOKEN`. Send a token of this deployment.'
    : 'This request has no credential. Send a token of this deployment as `Authorization: Bearer …` or `x-api-key`.';
}

/**
 * Verifies tokens in turn. A platform in front of the edge may set `authorization` to its own JWT. @throws the first token's
 * error
 */
async function verifyTokensUntilValid(
  [token = '', ...others]: readonly string[],
  settings: Settings,
): Promise<Identity> {
  try {
    return await verifyToken(token, settings);
  } catch (thrown) {
    if (others.length === 0 || !(thrown instanceof ApiError)) throw thrown;
    return await verifyTokensUntilValid(others, settings).catch(() => Promise.reject(thrown));
  }
}

/** Texts that JavaScript makes of a token that is not there. */
const UNSET_VALUES: ReadonlySet<string> = new Set(['undefined', 'null', '[object Promise]', '[object Object]']);

/** The credentials of a request. The bearer is empty if the header contains only the scheme. */
interface RequestCredentials {
  bearer: string | undefined;
  key: string | undefined;
}

/**
 * @returns the credentials of a request. Old official clients send `x-api-key`, new ones a bearer token, some both.
 * @throws ApiError 401 for a credential that is too long to be read
 */
function readCredentials(headers: Headers): RequestCredentials {
  const authorization = readBoundedHeader(headers, 'authorization');
  const scheme = authorization?.slice(0, BEARER_SCHEME.length + 1).toLowerCase();
  const hasBearer = scheme === BEARER_SCHEME || scheme === `${BEARER_SCHEME} `;
  return {
    bearer: hasBearer ? authorization?.slice(BEARER_SCHEME.length).trim() : undefined,
    key: readBoundedHeader(headers, 'x-api-key')?.trim(),
  };
}

function readBoundedHeader(headers: Headers, name: string): string | undefined {
  const value = headers.get(name) ?? undefined;
  if (value === undefined || value.length <= MAX_CREDENTIAL_CHARACTERS) return value;
  throw createUnauthenticatedError(
    `${name}: the credential has ${value.length} characters. At most ${MAX_CREDENTIAL_CHARACTERS} are allowed. Ask the issuer for a shorter one.`,
  );
}

/**
 * Rejects a bearer that is not a token: a deployment rejects it as well, and a frontend whose token is missing sends one.
 *
 * @throws ApiError 401 unless it is the placeholder, or the same as `x-api-key`, as the key of a helper of Claude Code
 */
function rejectPlaceholderToken({ bearer, key }: RequestCredentials): void {
  if (bearer === undefined || bearer === PLACEHOLDER_BEARER || (bearer !== '' && bearer === key)) return;
  const what = UNSET_VALUES.has(bearer)
    ? `the text \`${bearer}\`, so your code has no token`
    : 'not a token of this edge';
  throw createUnauthenticatedError(
    `Authorization: the bearer is ${bearer === '' ? 'empty' : what}. Send the token that this command prints: npm run token -- --account dev --scopes admin. To use the account \`dev\` of this development server, omit the header, or send \`Bearer ${PLACEHOLDER_BEARER}\` if your client requires a key.`,
  );
}

/**
 * @returns middleware that throws a 403 for a caller without the scope.
 * @example
 * const edge = createApp();
 * edge.get('/report', requireScope('admin'), (c) => c.json({ for: c.get('identity').account }));
 * export default edge;
 */
export function requireScope(scope: Scope) {
  return createMiddleware<AppEnv>((c, next) => {
    assertScope(c.get('identity'), scope);
    return next();
  });
}

/** @throws ApiError 403 for a caller that has none of the scopes */
export function assertScope(identity: Identity, ...scopes: readonly Scope[]): void {
  if (scopes.some((scope) => hasScope(identity, scope))) return;
  throw createNonRetryableError(
    'permission_error',
    `This credential lacks the scope ${scopes.map((scope) => `\`${scope}\``).join(' or ')}. Ask the operator for a token with this scope.`,
  );
}

/** @returns whether an identity has a scope, possibly by another scope that includes it. */
export function hasScope({ scopes }: Pick<Identity, 'scopes'>, scope: Scope): boolean {
  if (scopes.includes(scope) || scopes.includes('admin')) return true;
  return scope === 'admin:metrics' && scopes.includes('admin:read');
}
