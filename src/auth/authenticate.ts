import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import type { AppEnv } from '../env.ts';
import { ApiError, DO_NOT_RETRY, misconfigured } from '../errors.ts';
import { SCOPES, type Scope } from '../schemas/identity.ts';
import type { Identity } from './identity.ts';
import { isJwt, unauthenticated, verifyToken } from './verify.ts';

/** The account of development mode, which needs no credential. */
const DEVELOPER: Identity = { account: 'dev', scopes: SCOPES, token: undefined };

/** Finds out who is asking; nothing about an account is touched before its credential is verified. */
export const authenticate = createMiddleware<AppEnv>(async (c, next) => {
  const identity = await identify(c);
  c.set('identity', identity);
  c.get('entry').line.account = identity.account;
  await next();
});

async function identify(c: Context<AppEnv>): Promise<Identity> {
  const { settings } = c.var;
  const credentials = credentialsOf(c.req.raw.headers);
  const token = credentials.find(isJwt);
  if (settings.development && token === undefined) return DEVELOPER;
  if (settings.SIGNING_SECRET === undefined && settings.JWKS_URL === undefined) {
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
