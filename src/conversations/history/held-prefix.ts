/** The prefix of a conversation: the version that its name had at creation. */

import { callAccount } from '../../durable/call-account.ts';
import { ApiError, invalidRequest } from '../../http/errors.ts';
import type { JsonBody } from '../../http/json-body.ts';
import { sizeOf } from '../../http/read-json.ts';
import { findPrefix, PREFIX_KIND, type PrefixReader, unknownPrefix } from '../../prefixes/find-prefix.ts';
import { expand } from '../../prefixes/prefix.ts';
import { RequestBody } from '../../upstream/request/request-body.ts';
import { parseRef } from '../../versions/versions.schema.ts';
import type { HeldPrefix } from '../storage/rows.ts';
import { outgrown } from './outgrown.ts';

/** A prefix with the defaults that it gives to a new conversation. */
export interface TakenPrefix extends HeldPrefix {
  model: string | undefined;
  maxTokens: number | undefined;
}

/** The body of a turn behind its prefix. */
export interface LaidBody {
  body: JsonBody;
  /** The models that the prefix says may step in. */
  fallbacks: readonly string[] | undefined;
}

/** @returns the version as requests and ledgers name it. */
export function refOf({ name, hash }: HeldPrefix): string {
  return `${name}@${hash}`;
}

/**
 * Finds the prefix of a new conversation, and places a hold on its version.
 *
 * @throws ApiError 404 where there is none
 */
export async function takePrefix(reader: PrefixReader, ref: string, conversation: string): Promise<TakenPrefix> {
  const found = await findPrefix(reader, ref);
  if (!found) throw unknownPrefix(ref);
  const { owner, name, hash, value } = found;
  const { model, max_tokens: maxTokens } = value.content;
  return { ...(await holdPrefix(reader, { owner, name, hash }, conversation)), model, maxTokens };
}

/**
 * Places a hold on a version with its owner, so that it is not deleted while the conversation uses it.
 *
 * @throws ApiError 404 where it is gone
 */
export async function holdPrefix(
  { account, accounts, settings }: PrefixReader,
  { owner, name, hash }: Omit<HeldPrefix, 'holder'>,
  conversation: string,
): Promise<HeldPrefix> {
  const holder = JSON.stringify([account, conversation, crypto.randomUUID()]);
  const isHeld = await callAccount({ identity: { account: owner }, accounts, settings }, (object) =>
    object.holdVersion({ kind: PREFIX_KIND, name, hash }, holder),
  );
  if (!isHeld) throw unknownPrefix(`${name}@${hash}`);
  return { owner, name, hash, holder };
}

/** Releases a conversation's hold on a version. */
export async function releasePrefix(
  { accounts, settings }: Pick<PrefixReader, 'accounts' | 'settings'>,
  { owner, name, hash, holder }: HeldPrefix,
): Promise<void> {
  await callAccount({ identity: { account: owner }, accounts, settings }, (object) =>
    object.releaseVersion({ kind: PREFIX_KIND, name, hash }, holder),
  );
}

/**
 * Checks that the prefix that a request names is the conversation's; a name without a version means that one.
 *
 * @throws ApiError 400 where they differ
 */
export function checkHeld(held: HeldPrefix | null | undefined, ref: string): void {
  const named = parseRef(ref);
  if (!held) {
    throw invalidRequest('prefix: this conversation was created without one, and takes none later. Leave it out.');
  }
  if (named?.name === held.name && (named.hash === undefined || named.hash === held.hash)) return;
  throw invalidRequest(`prefix: this conversation holds ${refOf(held)}, and takes no other. Leave it out.`);
}

/**
 * Puts a conversation's prefix before the body of a turn.
 *
 * @returns the body, and the models that the prefix says may step in
 * @throws ApiError 400 where they contradict each other, 413 for what has become too large
 */
export async function layHeld(reader: PrefixReader, held: HeldPrefix, body: JsonBody): Promise<LaidBody> {
  const found = await findPrefix(reader, { name: held.name, hash: held.hash }, [held.owner]);
  if (!found) {
    throw new ApiError('api_error', `The prefix ${refOf(held)} of this conversation could not be found.`, {
      logged: 'prefix_lost',
    });
  }
  const expanded = expand(body, found.value);
  const { MAX_BODY_BYTES } = reader.settings;
  const hasHistory = body instanceof RequestBody && body.hasHistory;
  if (sizeOf(expanded) > MAX_BODY_BYTES) throw outgrown(MAX_BODY_BYTES, hasHistory);
  return { body: expanded, fallbacks: found.value.content.fallback_models };
}
