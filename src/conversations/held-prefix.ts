/** The prefix of a conversation. At creation a hold is placed on the newest version, so that it is not deleted. */

import { type AccountRequest, callAccount } from '../durable/call-account.ts';
import type { ConversationPlace } from '../durable/contracts/conversation.ts';
import { ApiError, invalidRequest } from '../http/errors.ts';
import type { JsonBody } from '../http/json-body.ts';
import { logFailure } from '../http/log.ts';
import { sizeOf } from '../http/read-json.ts';
import { expand } from '../prefixes/prefix.ts';
import { PREFIXES } from '../prefixes/prefix-kind.ts';
import { RequestBody } from '../upstream/request/request-body.ts';
import { findStored, requireStored, type StoredReader } from '../versions/find-stored.ts';
import { parseRef } from '../versions/versions.schema.ts';
import { type PrefixDefaults, tooLargeToSend } from './history/next-request.ts';
import { accountRequestOf, type ObjectContext } from './object-context.ts';
import { type HeldAgent, type HeldPrefix, refOf } from './storage/rows.ts';
import type { LaidBody } from './turn/turn-context.ts';

/** A prefix with the defaults that it gives to a new conversation. */
export interface TakenPrefix extends PrefixDefaults {
  held: HeldPrefix;
}

type Callers = Pick<ObjectContext, 'env' | 'settings'>;

/** Finds the prefix of a new conversation, and places a hold on its version. @throws ApiError 404 where there is none */
export async function takePrefix(context: Callers, place: ConversationPlace, ref: string): Promise<TakenPrefix> {
  const found = await requireStored(PREFIXES, prefixReaderOf(context, place.account), ref);
  const { content, runs } = found.value;
  const { model, max_tokens: maxTokens } = content;
  return { held: await holdPrefix(context, place, found), model, maxTokens, runs };
}

/** Places a conversation's hold on a version with its owner. @throws ApiError 404 where it is gone */
export async function holdPrefix(
  context: Callers,
  { account, id }: ConversationPlace,
  { owner, name, hash }: Omit<HeldPrefix, 'holder'>,
): Promise<HeldPrefix> {
  const holder = JSON.stringify([account, id, crypto.randomUUID()]);
  const version = { kind: PREFIXES.kind, name, hash };
  const isHeld = await callAccount(prefixReaderOf(context, owner), (object) => object.holdVersion(version, holder));
  if (!isHeld) throw PREFIXES.unknown(`${name}@${hash}`);
  return { owner, name, hash, holder };
}

/** Releases a conversation's hold on a version. */
export async function releasePrefix(context: Callers, { owner, name, hash, holder }: HeldPrefix): Promise<void> {
  const version = { kind: PREFIXES.kind, name, hash };
  await callAccount(prefixReaderOf(context, owner), (object) => object.releaseVersion(version, holder));
}

/** Releases a prefix without waiting. A failed release is only logged: it does no more harm than a version that stays. */
export function releaseInBackground(context: Callers & Pick<ObjectContext, 'waitUntil'>, held: HeldPrefix): void {
  const logged = (thrown: unknown) => logFailure({ prefix_not_released: held.holder }, thrown);
  context.waitUntil(releasePrefix(context, held).catch(logged));
}

/** Releases a prefix that was taken for a conversation which was not created, or which existed already. */
export function releaseUnused(context: ObjectContext, held: HeldPrefix | undefined): void {
  if (held && context.transcript.profile?.prefix?.holder !== held.holder) releaseInBackground(context, held);
}

/**
 * Checks that a request names the prefix or agent that the conversation began with. A name without a version means any
 * version.
 *
 * @throws ApiError 400 where they differ
 */
export function checkHeld(field: 'prefix' | 'agent', held: HeldAgent | null | undefined, ref: string): void {
  const named = parseRef(ref);
  if (!held) {
    throw invalidRequest(`${field}: this conversation was created without one, and takes none later. Leave it out.`);
  }
  if (named?.name === held.name && (named.hash === undefined || named.hash === held.hash)) return;
  throw invalidRequest(`${field}: this conversation holds ${refOf(held)}, and takes no other. Leave it out.`);
}

/**
 * Puts a conversation's prefix before the body of a turn.
 *
 * @returns the body, and the models that may step in according to the prefix
 * @throws ApiError 400 if prefix and body contradict each other, 413 if the result is too large
 */
export async function layHeld(context: Callers, account: string, held: HeldPrefix, body: JsonBody): Promise<LaidBody> {
  const reader = prefixReaderOf(context, account);
  const found = await findStored(PREFIXES, reader, { name: held.name, hash: held.hash }, [held.owner]);
  if (!found) {
    throw new ApiError('api_error', `The prefix ${refOf(held)} of this conversation could not be found.`, {
      logged: 'prefix_lost',
    });
  }
  const expanded = expand(body, found.value);
  const { MAX_BODY_BYTES } = reader.settings;
  const hasHistory = body instanceof RequestBody && body.hasHistory;
  if (sizeOf(expanded) > MAX_BODY_BYTES) throw tooLargeToSend(MAX_BODY_BYTES, hasHistory);
  return { body: expanded, fallbacks: found.value.content.fallback_models };
}

/** @returns a reader of the prefixes that an account can see, with which the account itself can be called too. */
function prefixReaderOf(context: Callers, account: string): StoredReader & AccountRequest {
  return { account, store: context.env.STORE, ...accountRequestOf(context, { account }) };
}
