/** The prefix of a conversation. At creation a hold is placed on the newest version, so that it is not deleted. */

import { DEPLOYMENT, type Scope } from '../../auth/identity/identity.ts';
import { RequestBody } from '../../claude/request/request-body.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { invalidRequest, notFound } from '../../kit/http/errors.ts';
import { logFailure } from '../../kit/http/log.ts';
import { bodySizeOf } from '../../kit/http/read-json.ts';
import { parseRef } from '../../kit/kv/version-ref.ts';
import { type AccountRequest, callAccount } from '../../money/contracts/call-account.ts';
import { withdrawnError } from '../../money/versions/kv-copies.ts';
import { expandPrefix } from '../../registry/prefixes/prefix.ts';
import { PREFIXES } from '../../registry/prefixes/prefix-kind.ts';
import {
  findExactVersion,
  rejectWithdrawn,
  requireStored,
  type StoredContext,
} from '../../registry/versions/find-stored.ts';
import type { PrefixDefaults } from '../history/inherited-parts.ts';
import { tooLargeToSend } from '../history/next-request.ts';
import { type RetainedAgent, type RetainedPrefix, refOf } from '../history/storage/rows.ts';
import type { TurnBody } from '../turn/turn-context.ts';
import type { ConversationKey } from './contract.ts';
import { accountRequestOf, type ObjectContext } from './object-context.ts';

/** A prefix with the defaults that it gives to a new conversation. */
export interface InitialPrefix extends PrefixDefaults {
  retained: RetainedPrefix;
}

type AccountAccess = Pick<ObjectContext, 'env' | 'settings'>;

/** Finds the prefix of a new conversation, and places a hold on its version. @throws ApiError 404 where there is none */
export async function takePrefix(
  context: AccountAccess,
  place: ConversationKey,
  ref: string,
  scopes: readonly Scope[],
): Promise<InitialPrefix> {
  const { account } = place;
  const found = await requireStored(PREFIXES, { ...storedPlaceOf(context, account), account, scopes }, ref);
  const { content, runs } = found.value;
  const { model, max_tokens: maxTokens, history } = content;
  return { retained: await retainPrefix(context, place, found), model, maxTokens, history, runs };
}

/** Places a conversation's hold on a version with its owner. @throws ApiError 404 where it is gone */
export async function retainPrefix(
  context: AccountAccess,
  { account, id }: ConversationKey,
  { owner, name, hash }: Omit<RetainedPrefix, 'holder'>,
): Promise<RetainedPrefix> {
  const holder = JSON.stringify([account, id, crypto.randomUUID()]);
  const version = { kind: PREFIXES.kind, name, hash };
  const isRetained = await callAccount(storedPlaceOf(context, owner), (object) =>
    object.retainVersion(version, holder),
  );
  if (!isRetained) {
    throw notFound(
      `The prefix ${name}@${hash} is not stored here: it never was, or it was deleted or withdrawn. Restore it from a backup, or store it again with PUT ${PREFIXES.path}/${name}.`,
    );
  }
  return { owner, name, hash, holder };
}

/** Releases a conversation's hold on a version. */
export async function releasePrefix(
  context: AccountAccess,
  { owner, name, hash, holder }: RetainedPrefix,
): Promise<void> {
  const version = { kind: PREFIXES.kind, name, hash };
  await callAccount(storedPlaceOf(context, owner), (object) => object.releaseVersion(version, holder));
}

/** Releases a prefix without waiting. A failed release is only logged: it does no more harm than a version that stays. */
export function releaseInBackground(
  context: AccountAccess & Pick<ObjectContext, 'waitUntil'>,
  retained: RetainedPrefix,
): void {
  const logged = (thrown: unknown) => logFailure({ prefix_not_released: retained.holder }, thrown);
  context.waitUntil(releasePrefix(context, retained).catch(logged));
}

/** Releases a prefix that was taken for a conversation which was not created, or which existed already. */
export function releaseUnused(context: ObjectContext, retained: RetainedPrefix | undefined): void {
  if (retained && context.transcript.profile?.prefix?.holder !== retained.holder)
    releaseInBackground(context, retained);
}

/**
 * Checks that a request names the prefix or agent that the conversation began with. A name without a version means any
 * version.
 *
 * @throws ApiError 400 where they differ
 */
export function checkRetained(
  field: 'prefix' | 'agent',
  retained: RetainedAgent | null | undefined,
  ref: string,
): void {
  const named = parseRef(ref);
  if (!retained) {
    throw invalidRequest(`${field}: this conversation was created without one, and takes none later. Leave it out.`);
  }
  if (named?.name === retained.name && (named.hash === undefined || named.hash === retained.hash)) return;
  throw invalidRequest(`${field}: this conversation holds ${refOf(retained)}, and takes no other. Leave it out.`);
}

/**
 * Puts a conversation's prefix before the body of a turn.
 *
 * @returns the body, and the models that may step in according to the prefix
 * @throws ApiError 400 if prefix and body contradict each other, 409 if the prefix was withdrawn, 413 if the result is too
 *   large
 */
export async function applyRetainedPrefix(
  context: AccountAccess,
  account: string,
  retained: RetainedPrefix,
  body: JsonBody,
): Promise<TurnBody> {
  const place = storedPlaceOf(context, account);
  if (retained.owner === DEPLOYMENT) await rejectWithdrawn(PREFIXES, place, retained);
  const found = await findExactVersion(PREFIXES, place, retained);
  if (!found) throw withdrawnError(PREFIXES.kind, refOf(retained));
  const expanded = expandPrefix(body, found.value);
  const { MAX_BODY_BYTES } = place.settings;
  const hasHistory = body instanceof RequestBody && body.hasHistory;
  if (bodySizeOf(expanded) > MAX_BODY_BYTES) throw tooLargeToSend(MAX_BODY_BYTES, hasHistory);
  return { body: expanded, fallbacks: found.value.content.fallback_models };
}

/** @returns where versions are stored, with which an account can be called too. */
export function storedPlaceOf(context: AccountAccess, account: string): StoredContext & AccountRequest {
  return { store: context.env.STORE, ...accountRequestOf(context, { account }) };
}
