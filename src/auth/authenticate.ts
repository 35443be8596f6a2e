import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { ApiError, DO_NOT_RETRY, misconfigured } from '../http/errors.ts';
import type { Identity } from '../identity/caller.ts';
import { type Caller, callerSchema, SCOPES, type Scope } from '../identity/identity.ts';
import type { AppEnv } from './context.ts';
import { isJwt, refuseSourceAccount, unauthenticated, verifyToken } from './verify.ts';

const NO_ACCOUNT = 'This credential names no account: an account has 1 to 128 characters.';

/** The account of development mode, which needs no credential. */
const DEVELOPER: Identity = { account: 'dev', scopes: SCOPES, token: undefined };

/**
 * Says who sends a request, in a Worker that has its own way to know.
 *
 * `undefined` leaves the request to the edge's own credentials: a token of SIGNING_SECRET or of the identity provider, or
 * in development nobody's, which is the account `dev`; who is none of these gets a 401. What is thrown ends the request,
 * an ApiError as it says. It is asked at every request, so it remembers for itself what is costly; a caller whom it does
 * not give a `token` can be revoked by it alone. Every header goes up to Claude but `authorization`, `x-api-key`,
 * `cookie`, `cf-*` and `sluice-*`: a secret of your own belongs into one of those. Who trusts a cookie checks `origin`.
 *
 * @param request its body is not to be read; read that of `request.clone()`
 * @param c what the Worker's own middleware has set: `c.get('user')`
 */
export type Authenticate = (request: Request, c: Context<AppEnv>) => Caller | undefined | Promise<Caller | undefined>;

/**
 * Finds out who is asking; nothing about an account is touched before its credential is verified.
 *
 * @param own a Worker's own way to know, which is asked first
 */
export function authenticate(own?: Authenticate) {
  return createMiddleware<AppEnv>(async (c, next) => {
    const identity = (own && (await identifyBy(own, c))) ?? (await identifyCaller(c, own !== undefined));
    c.set('identity', identity);
    c.get('entry').line.account = identity.account;
    await next();
  });
}

async function identifyBy(own: Authenticate, c: Context<AppEnv>): Promise<Identity | undefined> {
  const request = c.req.raw;
  const caller = await own(request, c);
  if (request.bodyUsed) throw misconfigured('`authenticate` has read the body: it must read that of request.clone().');
  if (caller === undefined) return undefined;
  const { data, error } = callerSchema.safeParse(caller);
  if (error) {
    // Who it is comes from outside; that it is told in the right form is the Worker's own matter.
    if (error.issues.every(({ path }) => path[0] === 'account')) throw unauthenticated(NO_ACCOUNT);
    const fields = error.issues.map(({ path, message }) => `${path.join('.')} (${message})`).join('; ');
    throw misconfigured(`\`authenticate\` has named a caller that is none: ${fields}.`);
  }
  const { account, scopes, token } = data;
  refuseSourceAccount(account);
  if (!token) return { account, scopes, token: undefined };
  const { jti, issued_at, expires_at } = token;
  return { account, scopes, token: { jti, issued_at, expires_at, scopes, label: undefined, issuer: 'provider' } };
}

async function identifyCaller(c: Context<AppEnv>, hasOwn: boolean): Promise<Identity> {
  const { settings } = c.var;
  const credentials = credentialsOf(c.req.raw.headers);
  const token = credentials.find(isJwt);
  if (settings.development && token === undefined) return DEVELOPER;
  if (settings.SIGNING_SECRET === undefined && settings.JWKS_URL === undefined) {
    if (hasOwn) throw unauthenticated('This edge does not know who is asking. Sign in first.');
    throw misconfigured('This deployment cannot verify credentials: it has neither SIGNING_SECRET nor JWKS_URL.');
  }
  if (token !== undefined) return verifyToken(token, settings);
  throw unauthenticated(
    credentials.length === 0
      ? 'Send a credential of this edge as `Authorization: Bearer …` or `x-api-key`.'
      : 'This is no credential of this edge: it must be a token that its operator or your sign-in has issued.',
  );
}

/** Old official clients send `x-api-key`, new ones a bearer token; some send both. */
function credentialsOf(headers: Headers): string[] {
  const bearer = /^bearer +(\S+)$/i.exec(headers.get('authorization') ?? '')?.[1];
  const key = headers.get('x-api-key')?.trim();
  return [bearer, key].filter((credential) => credential !== undefined && credential !== '') as string[];
}

/** @returns middleware that lets in only who may do what the scope names. */
export function requireScope(scope: Scope) {
  return createMiddleware<AppEnv>(async (c, next) => {
    if (!hasScope(c.get('identity'), scope)) {
      throw new ApiError('permission_error', `This credential lacks the scope \`${scope}\`.`, {
        headers: DO_NOT_RETRY,
      });
    }
    await next();
  });
}

/** @returns whether an identity may do what a scope names. */
export function hasScope({ scopes }: Identity, scope: Scope): boolean {
  return scopes.includes(scope) || scopes.includes('admin');
}
