/** The prefix of a conversation. At creation a hold is placed on the newest version, so that it is not deleted. */

import { DEPLOYMENT, type Scope } from '../../auth/identity/identity.ts';
import { RequestBody } from '../../claude/request/request-body.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { createInvalidRequestError, createNotFoundError } from '../../kit/http/errors.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import { getBodySize } from '../../kit/http/read-json.ts';
import { parseVersionRef } from '../../kit/kv/version-ref.ts';
import { type AccountTarget, callAccount } from '../../money/contracts/call-account.ts';
import { createWithdrawnVersionError } from '../../money/versions/kv-copies.ts';
import { expandPrefix } from '../../registry/prefixes/prefix.ts';
import { PREFIXES } from '../../registry/prefixes/prefix-kind.ts';
import {
  findVersionByHash,
  rejectWithdrawnVersion,
  requireStoredVersion,
  type VersionStorageContext,
} from '../../registry/versions/find-stored.ts';
import type { NewConversationDefaults } from '../history/inherited-parts.ts';
import { createRequestTooLargeError } from '../history/prompt-history.ts';
import { formatVersionReference, type RetainedAgent, type RetainedPrefix } from '../history/storage/rows.ts';
import type { PrefixedTurnBody } from '../turn/turn-context.ts';
import type { ConversationKey } from './contract.ts';
import { createAccountRequest, type ObjectContext } from './object-context.ts';

/** A prefix with the defaults that it gives to a new conversation. */
export interface PrefixWithDefaults extends NewConversationDefaults {
  retained: RetainedPrefix;
}

type AccountAccess = Pick<ObjectContext, 'env' | 'settings'>;

/** Finds the prefix of a new conversation, and places a hold on its version. @throws ApiError 404 where there is none */
export async function findAndRetainPrefix(
  context: AccountAccess,
  conversationKey: ConversationKey,
  ref: string,
  scopes: readonly Scope[],
): Promise<PrefixWithDefaults> {
  const { account } = conversationKey;
  const found = await requireStoredVersion(
    PREFIXES,
    { ...createVersionStoreContext(context, account), account, scopes },
    ref,
  );
  const { content, runs } = found.value;
  const { model, max_tokens: maxTokens, history } = content;
  return { retained: await retainPrefix(context, conversationKey, found), model, maxTokens, history, runs };
}

/** Places a conversation's hold on a version with its owner. @throws ApiError 404 where it is gone */
export async function retainPrefix(
  context: AccountAccess,
  { account, id }: ConversationKey,
  { owner, name, hash }: Omit<RetainedPrefix, 'holder'>,
): Promise<RetainedPrefix> {
  const holder = JSON.stringify([account, id, crypto.randomUUID()]);
  const version = { kind: PREFIXES.kind, name, hash };
  const isRetained = await callAccount(createVersionStoreContext(context, owner), (object) =>
    object.retainVersion(version, holder),
  );
  if (!isRetained) {
    throw createNotFoundError(
      `The prefix ${name}@${hash} is not stored in this deployment. Restore it from a backup, or store it with PUT ${PREFIXES.path}/${name}.`,
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
  await callAccount(createVersionStoreContext(context, owner), (object) => object.releaseVersion(version, holder));
}

/** Releases a prefix without waiting. A failed release is only logged: it does no more harm than a version that stays. */
export function releasePrefixInBackground(
  context: AccountAccess & Pick<ObjectContext, 'waitUntil'>,
  retained: RetainedPrefix,
): void {
  const logReleaseFailure = (thrown: unknown) => logBackgroundFailure({ prefix_not_released: retained.holder }, thrown);
  context.waitUntil(releasePrefix(context, retained).catch(logReleaseFailure));
}

/** Releases a prefix that was taken for a conversation which was not created, or which existed already. */
export function releaseUnusedPrefix(context: ObjectContext, retained: RetainedPrefix | undefined): void {
  if (retained && context.transcript.storedProfile?.prefix?.holder !== retained.holder)
    releasePrefixInBackground(context, retained);
}

/**
 * Checks that a request names the prefix or agent that the conversation began with. A name without a version means any
 * version.
 *
 * @throws ApiError 400 where they differ
 */
export function requireSameRetainedVersion(
  field: 'prefix' | 'agent',
  retained: RetainedAgent | null | undefined,
  ref: string,
): void {
  const named = parseVersionRef(ref);
  if (!retained) {
    throw createInvalidRequestError(
      `${field}: cannot be added to a conversation that began without it. Remove it, or start another conversation.`,
    );
  }
  if (named?.name === retained.name && (named.hash === undefined || named.hash === retained.hash)) return;
  throw createInvalidRequestError(
    `${field}: this conversation uses ${formatVersionReference(retained)}, which cannot be changed. Remove this field, or start another conversation.`,
  );
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
): Promise<PrefixedTurnBody> {
  const versionStore = createVersionStoreContext(context, account);
  if (retained.owner === DEPLOYMENT) await rejectWithdrawnVersion(PREFIXES, versionStore, retained);
  const found = await findVersionByHash(PREFIXES, versionStore, retained);
  if (!found) throw createWithdrawnVersionError(PREFIXES.kind, formatVersionReference(retained));
  const expanded = expandPrefix(body, found.value);
  const { MAX_BODY_BYTES } = versionStore.settings;
  const hasHistory = body instanceof RequestBody && body.hasHistory;
  if (getBodySize(expanded) > MAX_BODY_BYTES) throw createRequestTooLargeError(MAX_BODY_BYTES, hasHistory);
  return { body: expanded, fallbackModels: found.value.content.fallback_models };
}

/** @returns where versions are stored, with which an account can be called too. */
export function createVersionStoreContext(
  context: AccountAccess,
  account: string,
): VersionStorageContext & AccountTarget {
  return { store: context.env.STORE, ...createAccountRequest(context, { account }) };
}
