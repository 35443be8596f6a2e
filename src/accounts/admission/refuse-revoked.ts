import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { accountMarks } from '../../auth/account-mark.ts';
import { hasScope } from '../../auth/authenticate.ts';
import { type AppEnv, contextOf, type RequestContext } from '../../auth/context.ts';
import { type AccountRequest, callAccount } from '../../durable/call-account.ts';
import type { AdmissionDecision } from '../../durable/contracts/admission.ts';
import { ApiError } from '../../http/errors.ts';
import type { Identity } from '../../identity/caller.ts';
import type { Read } from '../tokens/reads.ts';
import { credentialUse, grantedBy, revoked } from './ask-account.ts';

/** More characters than a path of a stream has, whose conversation there can be. */
const LONGEST_STREAM = 256;

/** Refuses a revoked credential. (Requests without a credential pass: their routes need none.) */
export const refuseRevoked = createMiddleware<AppEnv>(async (c, next) => {
  await checkRevoked(c);
  await next();
});

/**
 * Refuses a revoked credential at the end, for routes with an admission. The admission refuses it anyway, in a call that is
 * needed anyway. This middleware asks only if the route has refused before the admission, so that a revoked credential
 * learns nothing from that refusal.
 */
export const refuseRevokedInTheEnd = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  if (c.error instanceof ApiError && c.error.status < 500 && !ASKED.has(c.error.status)) await checkRevoked(c);
});

/** Errors after which the credential need not be checked: they show that it was checked, or that the account was asked. */
const ASKED: ReadonlySet<number> = new Set([401, 429]);

async function checkRevoked(c: Context<AppEnv>): Promise<void> {
  const identity = c.get('identity') as Identity | undefined;
  if (!identity) return;
  const isRead = c.req.method === 'GET' || c.req.method === 'HEAD';
  // The operator's page asks often, and a backup reads everything.
  if (!isRead || hasScope(identity, 'admin')) return await refuseRevokedCaller(contextOf(c));
  const { READS_PER_MINUTE, BOUND_READS_PER_MINUTE } = c.get('settings');
  const most = identity.only ? BOUND_READS_PER_MINUTE : READS_PER_MINUTE;
  const { path } = c.req;
  await refuseRead(contextOf(c), { most, stream: path.endsWith('/stream') ? path.slice(-LONGEST_STREAM) : undefined });
}

/** Counts a read, and asks in the same call whether its credential is revoked. @throws ApiError 401, and 429 for one too many */
async function refuseRead(request: RequestContext, read: Omit<Read, 'token'>): Promise<void> {
  const token = credentialUse(request.identity);
  if (!token) return;
  if (await isOfOtherSecret(request)) throw revoked();
  const text = JSON.stringify({ ...read, token });
  const refused = JSON.parse(await callAccount(request, (object) => object.readJson(text))) as AdmissionDecision | null;
  if (refused) grantedBy(refused);
}

/** Asks the account whether a credential is revoked, for answers without an admission. @throws ApiError 401 if it is */
export async function refuseRevokedCaller(request: AccountRequest & { identity: Identity }): Promise<void> {
  if (await isRevokedCaller(request)) throw revoked();
}

/**
 * Asks the account whether a credential is revoked. An expired one is not: what it began may go on.
 *
 * @returns true also if the secret that signed it is none of the deployment's any more
 * @throws ObjectUnreachable 503 while the account's object cannot be reached
 */
export async function isRevokedCaller(request: AccountRequest & { identity: Identity }): Promise<boolean> {
  const seen = credentialUse(request.identity);
  if (!seen) return false;
  return (await isOfOtherSecret(request)) || (await callAccount(request, (object) => object.isRevoked(seen)));
}

async function isOfOtherSecret({
  identity,
  settings,
}: Pick<RequestContext, 'identity' | 'settings'>): Promise<boolean> {
  const { account, token: { mark } = {} } = identity;
  return mark !== undefined && !(await accountMarks(account, settings)).includes(mark);
}
