/** Answers that were given before: a key for each account, classifier version, model and input, gone after a time. */

import type { ClassifyAnswer } from '../classification/classify-answers.schema.ts';
import { sha256Hex, utf8 } from '../http/bytes.ts';
import { ApiError } from '../http/errors.ts';

/** What is kept of an answer: not what it cost, since to give it again costs nothing. */
export type KeptAnswer = Pick<ClassifyAnswer, 'label' | 'labels' | 'confidence' | 'fields'>;

const ANSWER_PREFIX = 'classified:';
const HASH_CHARACTERS = 64;
/** A request may ask KV for a thousand things, and each key that is forgotten is one. */
const ANSWERS_AT_ONCE = 500;

// The hash has no colon and a fixed length, so the account before it may have any.
function answerKey(account: string, hash: string): string {
  return `${ANSWER_PREFIX}${account}:${hash}`;
}

/** @returns what identifies an answer within its account: all that decides it. */
export async function answerHash(parts: readonly unknown[]): Promise<string> {
  return await sha256Hex(utf8(JSON.stringify(parts)));
}

/** @returns an answer that was given before, or undefined; a store that does not answer has none. */
export async function recallAnswer(store: KVNamespace, account: string, hash: string): Promise<KeptAnswer | undefined> {
  try {
    return (await store.get<KeptAnswer>(answerKey(account, hash), 'json')) ?? undefined;
  } catch {
    // It can be had again from the upstream, which is what an empty cache means.
    return undefined;
  }
}

/** @throws ApiError 503 where KV does not take it */
export async function keepAnswer(
  store: KVNamespace,
  account: string,
  hash: string,
  answer: KeptAnswer,
  seconds: number,
): Promise<void> {
  try {
    await store.put(answerKey(account, hash), JSON.stringify(answer), { expirationTtl: seconds });
  } catch (cause) {
    throw new ApiError('api_error', 'The answer could not be kept.', { status: 503, logged: 'kv_unavailable', cause });
  }
}

/**
 * Forgets a page of an account's answers.
 *
 * @param cursor where the page begins. Without it the first page would come again and again: it may be full of answers
 * of accounts whose names begin like this one, which stay
 * @returns where the next page begins; undefined where there is none
 */
export async function forgetAnswers(
  store: KVNamespace,
  account: string,
  cursor?: string | undefined,
): Promise<string | undefined> {
  const prefix = answerKey(account, '');
  const page = await store.list({ prefix, limit: ANSWERS_AT_ONCE, ...(cursor === undefined ? {} : { cursor }) });
  // What is longer is of an account whose name begins like this one.
  const own = page.keys.filter(({ name }) => name.length === prefix.length + HASH_CHARACTERS);
  await Promise.all(own.map(({ name }) => store.delete(name)));
  return page.list_complete ? undefined : page.cursor;
}
