/** An account as the upstream hears of it: by a hash, which tells accounts apart and does not say whose they are. */

import { LruCache } from '../../cache/lru.ts';
import { sha256Hex, utf8 } from '../../http/bytes.ts';
import type { JsonBody } from '../../http/json-body.ts';
import { withText } from '../../http/read-json.ts';
import { edit, memberTexts } from '../../json/edit.ts';
import { isObject } from '../../json/object.ts';
import type { Settings } from '../../settings/settings.ts';

const MOST_USER_IDS = 1_000;
const CHARACTERS = 32;
const userIds = new LruCache<string, string>({ most: MOST_USER_IDS });

/** @returns the name of an account at the upstream, the same for ever. */
export async function nameUp(account: string): Promise<string> {
  const known = userIds.get(account);
  if (known !== undefined) return known;
  const name = (await sha256Hex(utf8(`sluice account ${account}`))).slice(0, CHARACTERS);
  userIds.set(account, name);
  return name;
}

/**
 * @returns a caller's `idempotency-key` as it goes up: all accounts share the deployment's key there, and one must not be
 * told another's answer
 */
export async function keyUp(caller: Headers, account: string): Promise<string | undefined> {
  const key = caller.get('idempotency-key');
  return key === null ? undefined : `${await nameUp(account)}-${key}`;
}

/** @returns the body with the account in `metadata.user_id`, where the operator wants that. */
export async function withUserId(body: JsonBody, settings: Settings, account: string): Promise<JsonBody> {
  if (settings.UPSTREAM_USER_ID !== 'account') return body;
  const metadata = Object.hasOwn(body.json, 'metadata') ? body.json.metadata : undefined;
  // What else it may be is the upstream's to judge.
  if (metadata !== undefined && metadata !== null && !isObject(metadata)) return body;
  const user_id = await nameUp(account);
  const told = metadata ? (memberTexts(body.text).get('metadata') ?? '{}') : '{}';
  const text = edit(body.text, { metadata: edit(told, { user_id: JSON.stringify(user_id) }) });
  const json = { ...body.json, metadata: { ...metadata, user_id } };
  return withText(body, text, json);
}
