/** Puts the mark of an account into the ids of its requests, so that the operator can find the account by an id. */

import type { Settings } from '../config/settings.ts';
import { createLruCache } from '../kit/cache/lru.ts';
import { computeHmac, encodeUtf8 } from '../kit/http/bytes.ts';
import { createRequestId, encodeAccountMark, insertAccountMark } from '../kit/http/headers/request-id.ts';

type AccountMarkSecrets = Pick<Settings, 'SIGNING_SECRET' | 'SIGNING_SECRET_PREVIOUS' | 'ANTHROPIC_API_KEY'>;

const MAX_CACHED_MARKS = 5_000;
/** A cache of marks by secret and account, because computing one costs two calls of the runtime. */
const markCache = createLruCache<string, string>(MAX_CACHED_MARKS);

/**
 * Computes the mark of an account: the beginning of an HMAC of its name with a secret of the deployment. Without the secret, an
 * id does not reveal its account.
 *
 * @returns eight characters; undefined if the deployment has no secret
 */
export function getAccountMark(account: string, settings: AccountMarkSecrets): string | undefined | Promise<string> {
  const secret = settings.SIGNING_SECRET ?? listMarkSecrets(settings)[0];
  return secret === undefined ? undefined : getCachedOrComputeMark(secret, account);
}

/** @returns the marks that an account's ids may have. Before a rotation of the secret they had another one. */
export async function getAllAccountMarks(account: string, settings: AccountMarkSecrets): Promise<string[]> {
  return await Promise.all(
    listMarkSecrets(settings).map(async (secret) => await getCachedOrComputeMark(secret, account)),
  );
}

export async function createMarkedRequestId(account: string, settings: AccountMarkSecrets): Promise<string> {
  return insertAccountMark(createRequestId(), await getAccountMark(account, settings));
}

function listMarkSecrets({ SIGNING_SECRET, SIGNING_SECRET_PREVIOUS, ANTHROPIC_API_KEY }: AccountMarkSecrets): string[] {
  const signing = [SIGNING_SECRET, SIGNING_SECRET_PREVIOUS].filter((secret) => secret !== undefined);
  if (signing.length > 0 || ANTHROPIC_API_KEY === undefined) return signing;
  return [ANTHROPIC_API_KEY];
}

/** @returns the mark by one secret, or a promise of it if it must be computed. */
export function getCachedOrComputeMark(secret: string, account: string): string | Promise<string> {
  const name = `${secret} ${account}`;
  return markCache.get(name) ?? computeMark(name, secret, account);
}

async function computeMark(name: string, secret: string, account: string): Promise<string> {
  const mark = encodeAccountMark(
    await computeHmac(encodeUtf8(`sluice request ${account}`), encodeUtf8(secret), 'SHA-256'),
  );
  markCache.set(name, mark);
  return mark;
}
