/** The mark of an account in the ids of its requests: whoever runs the edge can tell from an id whose it is. */

import { LruCache } from '../cache/lru.ts';
import { hmacOf, utf8 } from '../http/bytes.ts';
import { createRequestId, markFromBytes, withMark } from '../http/request-id.ts';
import type { Settings } from '../settings/settings.ts';

type Secrets = Pick<Settings, 'SIGNING_SECRET' | 'SIGNING_SECRET_PREVIOUS' | 'ANTHROPIC_API_KEY'>;

const MOST_MARKS = 5_000;
/** By secret and account: each costs two calls of the runtime to compute. */
const marks = new LruCache<string, string>({ most: MOST_MARKS });

/**
 * Computes the mark of an account: the beginning of an HMAC of its name, by a secret of the deployment, so that nobody
 * else can tell from an id whose it is, or which ids are of one account that they know.
 *
 * @returns eight characters; undefined where the deployment has no secret
 */
export function accountMark(account: string, settings: Secrets): string | undefined | Promise<string> {
  const secret = settings.SIGNING_SECRET ?? secretsOf(settings)[0];
  return secret === undefined ? undefined : markBy(secret, account);
}

/** @returns the marks that an account's ids may have: before a secret was rotated they had another. */
export async function accountMarks(account: string, settings: Secrets): Promise<string[]> {
  return await Promise.all(secretsOf(settings).map(async (secret) => await markBy(secret, account)));
}

/** @returns an id for a request of an account, with its mark. */
export async function requestIdOf(account: string, settings: Secrets): Promise<string> {
  return withMark(createRequestId(), await accountMark(account, settings));
}

function secretsOf({ SIGNING_SECRET, SIGNING_SECRET_PREVIOUS, ANTHROPIC_API_KEY }: Secrets): string[] {
  const signing = [SIGNING_SECRET, SIGNING_SECRET_PREVIOUS].filter((secret) => secret !== undefined);
  if (signing.length > 0 || ANTHROPIC_API_KEY === undefined) return signing;
  return [ANTHROPIC_API_KEY];
}

/** @returns the mark, at once where it is known. */
function markBy(secret: string, account: string): string | Promise<string> {
  const name = `${secret} ${account}`;
  return marks.get(name) ?? computed(name, secret, account);
}

async function computed(name: string, secret: string, account: string): Promise<string> {
  const mark = markFromBytes(await hmacOf(utf8(`sluice request ${account}`), utf8(secret), 'SHA-256'));
  marks.set(name, mark);
  return mark;
}
