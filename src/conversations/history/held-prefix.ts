/** The prefix of a conversation: the version that it was created with, whatever becomes of the name. */

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

/** What a conversation that begins takes from its prefix. */
export interface TakenPrefix extends HeldPrefix {
  model: string | undefined;
  maxTokens: number | undefined;
}

/** @returns the version as requests and ledgers name it. */
export function refOf({ name, hash }: HeldPrefix): string {
  return `${name}@${hash}`;
}

/**
 * Finds what a conversation that begins will hold, and has its owner keep it.
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
 * Has the owner of a version keep it for a conversation.
 *
 * @throws ApiError 404 where it is gone
 */
export async function holdPrefix(
  { account, accounts, settings }: PrefixReader,
  { owner, name, hash }: Omit<HeldPrefix, 'holder'>,
  conversation: string,
): Promise<HeldPrefix> {
  const holder = JSON.stringify([account, conversation, crypto.randomUUID()]);
  const kept = await callAccount({ identity: { account: owner }, accounts, settings }, (object) =>
    object.holdVersion({ kind: PREFIX_KIND, name, hash }, holder),
  );
  if (!kept) throw unknownPrefix(`${name}@${hash}`);
  return { owner, name, hash, holder };
}

/** Lets a version go: its owner need not keep it for this conversation any more. */
export async function releasePrefix(
  { accounts, settings }: Pick<PrefixReader, 'accounts' | 'settings'>,
  { owner, name, hash, holder }: HeldPrefix,
): Promise<void> {
  await callAccount({ identity: { account: owner }, accounts, settings }, (object) =>
    object.releaseVersion({ kind: PREFIX_KIND, name, hash }, holder),
  );
}

/**
 * Holds what a request names to what its conversation holds: a bare name means that version.
 *
 * @throws ApiError 400 where they differ
 */
export function checkHeld(held: HeldPrefix | null | undefined, ref: string): void {
  const asked = parseRef(ref);
  if (!held) {
    throw invalidRequest('prefix: this conversation was created without one, and takes none later. Leave it out.');
  }
  if (asked?.name === held.name && (asked.hash === undefined || asked.hash === held.hash)) return;
  throw invalidRequest(`prefix: this conversation holds ${refOf(held)}, and takes no other. Leave it out.`);
}

/**
 * Lays a conversation's prefix under a turn.
 *
 * @throws ApiError 400 where they do not go together, 413 for what has become too large
 */
export async function layHeld(reader: PrefixReader, held: HeldPrefix, body: JsonBody): Promise<JsonBody> {
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
  return expanded;
}
