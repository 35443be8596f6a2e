/** Makes hashes of names, so that accounts and their users can be distinguished without saying who they are. */

import type { Settings } from '../../config/settings.ts';
import { createLruCache } from '../../kit/cache/lru.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { encodeUtf8, sha256Hex } from '../../kit/http/bytes.ts';
import { LongStringBody } from '../../kit/http/long-body.ts';
import { replaceBodyText } from '../../kit/http/read-json.ts';
import { editJson, parseMemberTexts } from '../../kit/json/edit.ts';
import { isObject } from '../../kit/json/object.ts';

const MAX_CACHED_USER_IDS = 1_000;
const ID_CHARACTERS = 32;
const endUserCache = createLruCache<string, string>(MAX_CACHED_USER_IDS);
/** The most characters of an id that is hashed. The API rejects longer ids, so a request with one has no end user. */
const MAX_USER_ID_CHARACTERS = 512;
/** The longest form of a character: an escape such as `\u0000`. */
const MAX_BYTES_PER_CHARACTER = 6;
const userIdCache = createLruCache<string, string>(MAX_CACHED_USER_IDS);

/** @returns the name of an account at the upstream: 32 hexadecimal digits, always the same. */
async function getUpstreamUserId(account: string): Promise<string> {
  const earlier = userIdCache.get(account);
  if (earlier !== undefined) return earlier;
  const name = (await sha256Hex(encodeUtf8(`sluice account ${account}`))).slice(0, ID_CHARACTERS);
  userIdCache.set(account, name);
  return name;
}

/**
 * @returns a hash (32 hexadecimal digits) of the end user that a body names in `metadata.user_id`; undefined if it names
 * none.
 */
export function computeEndUserHash(body: JsonBody): string | undefined | Promise<string> {
  const metadata = Object.hasOwn(body.json, 'metadata') ? body.json.metadata : undefined;
  const own = isObject(metadata) ? metadata.user_id : undefined;
  if (typeof own !== 'string') return undefined;
  const named =
    body instanceof LongStringBody
      ? body.getOriginalString(own, MAX_USER_ID_CHARACTERS * MAX_BYTES_PER_CHARACTER)
      : own;
  if (named === undefined || named === '' || named.length > MAX_USER_ID_CHARACTERS) return undefined;
  return endUserCache.get(named) ?? hashEndUser(named);
}

async function hashEndUser(endUser: string): Promise<string> {
  const hash = (await sha256Hex(encodeUtf8(`sluice user ${endUser}`))).slice(0, ID_CHARACTERS);
  endUserCache.set(endUser, hash);
  return hash;
}

/**
 * Makes the `idempotency-key` that is sent: a hash with the account's name. All accounts share one API key, and an account
 * must not get the answer of another account that has chosen the same key.
 */
export function createUpstreamKey(caller: Headers, account: string): undefined | Promise<string> {
  const key = caller.get('idempotency-key');
  return key === null ? undefined : hashAccountKey(account, key);
}

async function hashAccountKey(account: string, key: string): Promise<string> {
  // A key that is too long or has characters an upstream rejects would fail every request, as if the upstream were down: send
  // its hash.
  const short = /^[\w.:-]{1,256}$/.test(key) ? key : await sha256Hex(encodeUtf8(key));
  return `${await getUpstreamUserId(account)}-${short}`;
}

/** @returns the body with an identifier of the account in `metadata.user_id`, if UPSTREAM_USER_ID is set so. */
export function applyUserIdSetting(body: JsonBody, settings: Settings, account: string): JsonBody | Promise<JsonBody> {
  return settings.UPSTREAM_USER_ID === 'account' ? addUserId(body, account) : body;
}

async function addUserId(body: JsonBody, account: string): Promise<JsonBody> {
  const metadata = Object.hasOwn(body.json, 'metadata') ? body.json.metadata : undefined;
  // Leave a malformed `metadata` unchanged, so that the upstream rejects it with its own error.
  if (metadata !== undefined && metadata !== null && !isObject(metadata)) return body;
  const user_id = await getUpstreamUserId(account);
  const sent = metadata ? (parseMemberTexts(body.text).get('metadata') ?? '{}') : '{}';
  const text = editJson(body.text, { metadata: editJson(sent, { user_id: JSON.stringify(user_id) }) });
  const json = { ...body.json, metadata: { ...metadata, user_id } };
  return replaceBodyText(body, text, json);
}
