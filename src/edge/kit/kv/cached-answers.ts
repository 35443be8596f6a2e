/** Caches answers in KV: a key for each account, classifier version, model and input, with an expiry. */

import { encodeUtf8, sha256Hex } from '../http/bytes.ts';
import { ApiError } from '../http/errors.ts';

const ANSWER_PREFIX = 'classified:';
const HASH_CHARACTERS = 64;
/**
 * How many keys are deleted at once. A request may make 1,000 calls to KV
 * (https://developers.cloudflare.com/kv/platform/limits), and each deletion is one.
 */
const MAX_DELETED_ANSWERS = 500;

// The key is unambiguous although the account may contain colons: the hash after the last colon contains none.
function createAnswerKey(account: string, hash: string): string {
  return `${ANSWER_PREFIX}${account}:${hash}`;
}

/** @returns the id of an answer within its account: a hash of all that decides the answer. */
export async function computeCachedAnswerId(parts: readonly unknown[]): Promise<string> {
  return await sha256Hex(encodeUtf8(JSON.stringify(parts)));
}

/** @returns a cached answer; undefined if there is none, or if KV does not respond. */
export async function readCachedAnswer<Answer>(
  store: KVNamespace,
  account: string,
  hash: string,
): Promise<Answer | undefined> {
  try {
    return (await store.get<Answer>(createAnswerKey(account, hash), 'json')) ?? undefined;
  } catch {
    // The cache is optional. If KV fails, the request is sent to the upstream instead.
    return undefined;
  }
}

/**
 * Stores an answer for some seconds.
 *
 * @throws ApiError 503 if KV does not accept it
 */
export async function cacheAnswer(
  store: KVNamespace,
  account: string,
  hash: string,
  answer: object,
  seconds: number,
): Promise<void> {
  try {
    await store.put(createAnswerKey(account, hash), JSON.stringify(answer), { expirationTtl: seconds });
  } catch (cause) {
    throw new ApiError('api_error', 'The response could not be cached.', {
      status: 503,
      logged: 'kv_unavailable',
      cause,
    });
  }
}

/**
 * Deletes a page of an account's answers.
 *
 * @param cursor where the page begins. It is needed because a page may be full of answers of other accounts, whose names
 *   begin like this one. Those are not deleted
 * @returns where the next page begins; undefined if there is none
 */
export async function deleteCachedAnswersPage(
  store: KVNamespace,
  account: string,
  cursor?: string | undefined,
): Promise<string | undefined> {
  const prefix = createAnswerKey(account, '');
  const page = await store.list({ prefix, limit: MAX_DELETED_ANSWERS, ...(cursor === undefined ? {} : { cursor }) });
  // Skip longer keys: they belong to another account, whose name starts with this account's name and a colon.
  const own = page.keys.filter(({ name }) => name.length === prefix.length + HASH_CHARACTERS);
  await Promise.all(own.map(({ name }) => store.delete(name)));
  return page.list_complete ? undefined : page.cursor;
}
