/** Changes the profile of a conversation: at its beginning, at its end, and when a request changes it. */
import { runInSteps } from '../../kit/async/run-in-steps.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { type ConversationProfile, GRACE_MS, type RetainedPrefix } from '../history/storage/rows.ts';
import { countTurnsAndMessages } from '../history/storage/turn-queries.ts';
import type { ConversationKey } from './contract.ts';
import type { ConversationFields, ConversationPatch } from './conversations.schema.ts';
import type { ConversationContext, ImportedHistory } from './hooks.ts';
import type { InitialContext } from './initial-context.ts';
import { CONFIRM_RETRY_MS } from './maintenance.ts';
import { releasePrefixInBackground } from './retained-prefix.ts';

/**
 * Stores the profile of a new conversation. First deletes the rows of a failed turn or copy, except their cost: a settlement
 * that is still open replaces its own part of the total.
 *
 * @param watchMs after how many milliseconds the alarm checks the conversation, in case the object dies. It is set before the
 *   first row is written
 */
export function startConversation(
  conversation: ConversationContext,
  conversationKey: ConversationKey,
  watchMs: number,
  fields: Partial<ConversationProfile> = {},
): void {
  const { transcript, now } = conversation;
  conversation.alarm.scheduleWatchAt(now() + watchMs);
  const {
    prefix,
    nextTurn = 1,
    version = 0,
    cost = 0,
    inputTokens = 0,
    outputTokens = 0,
  } = transcript.storedProfile ?? {};
  if (prefix) releasePrefixInBackground(conversation, prefix);
  const spent = { cost, inputTokens, outputTokens };
  const profile: ConversationProfile = { ...createEmptyProfile(conversationKey, now(), version), ...spent, ...fields };
  if (transcript.createConversation(profile)) return;
  // A deleted or failed turn with this id may have listeners. Do not reuse its number, or they would get the events of another
  // turn.
  const next = Math.max(nextTurn, transcript.newestTurnNumber + 1);
  transcript.deleteHistory();
  if (next > profile.nextTurn) transcript.saveProfile({ ...profile, nextTurn: next });
}

/** @returns an empty profile, newer than the version that was stored before. */
export function createEmptyProfile(
  conversationKey: ConversationKey,
  now: number,
  version: number,
): ConversationProfile {
  return {
    ...conversationKey,
    exists: false,
    createdAt: now,
    updatedAt: now,
    version: Math.max(version + 1, now),
    unreported: false,
    title: null,
    metadata: null,
    model: null,
    maxTokens: null,
    prefix: null,
    agent: null,
    retentionSeconds: null,
    history: null,
    turns: 0,
    messages: 0,
    bytes: 0,
    cost: 0,
    inputTokens: 0,
    outputTokens: 0,
    nextTurn: 1,
    nextMessage: 1,
    through: 0,
    sentFrom: 0,
    paused: null,
    deleted: false,
  };
}

/**
 * Stores a new conversation, with the defaults of its turns, and the history that it begins with: all of it, or nothing.
 *
 * @throws ApiError 500 if it was deleted meanwhile
 */
export async function storeNewConversation(
  conversation: ConversationContext,
  conversationKey: ConversationKey,
  fields: Omit<ConversationFields, 'system' | 'tools' | 'messages'>,
  contents: { system: string | undefined; tools: string | undefined; history: ImportedHistory | undefined },
  initialContext: InitialContext | undefined,
): Promise<void> {
  const { transcript, maintenance, now } = conversation;
  const { model = null, maxTokens = null, history = null, agent = null, retained } = initialContext ?? {};
  // If the object crashes before the history is complete, this alarm deletes the part that is stored.
  const watchMs = contents.history ? GRACE_MS : CONFIRM_RETRY_MS;
  startConversation(conversation, conversationKey, watchMs, { prefix: retained ?? null });
  const storing = contents.history?.storeInConversation(transcript, { model: fields.model ?? model, now: now() });
  const imported =
    storing &&
    (await runInSteps(storing).catch((thrown: unknown) => discardConversationAndThrow(conversation, retained, thrown)));
  if (transcript.storedProfile?.deleted)
    discardConversationAndThrow(conversation, retained, createIncompleteImportError());
  maintenance.changeRows(() => {
    transcript.storeFrozenText('system', contents.system);
    transcript.storeFrozenText('tools', contents.tools);
    transcript.storeFrozenText('runs', initialContext?.runs);
    transcript.storeFrozenText('agent', initialContext?.agent && initialContext.stored.text);
    const defaults = { model, maxTokens };
    const changes = { ...defaults, history, ...toProfileChanges(fields), ...(agent && { ...defaults, agent }) };
    maintenance.saveProfileMembers({ ...changes, ...countTurnsAndMessages(transcript), ...imported, exists: true });
  });
}

export function createIncompleteImportError(): ApiError {
  return new ApiError('api_error', 'The conversation could not be stored completely. Try again.');
}

/** Deletes the rows of a conversation that could not be created, and throws the reason. */
export function discardConversationAndThrow(
  conversation: ConversationContext,
  retained: RetainedPrefix | undefined,
  thrown: unknown,
): never {
  const { transcript, alarm, now } = conversation;
  if (retained) releasePrefixInBackground(conversation, retained);
  transcript.deleteHistory();
  alarm.scheduleAt(now());
  throw thrown;
}

/** Deletes everything but the profile: the account must still learn of the deletion. */
export function deleteAllButProfile({ transcript, now }: ConversationContext, profile: ConversationProfile): void {
  transcript.runInTransaction(() => {
    transcript.deleteHistoryAndNotifications();
    const version = Math.max(profile.version + 1, now());
    const deletion = { exists: false, deleted: true, unreported: true, title: null, metadata: null, paused: null };
    transcript.saveProfile({ ...profile, version, ...deletion });
  });
}

/** @returns the members of the profile that a request changes. */
export function toProfileChanges(
  fields: ConversationPatch & { model?: string | undefined },
): Partial<ConversationProfile> {
  const { title, metadata, model, max_tokens: maxTokens, retention_seconds: retentionSeconds, history } = fields;
  // Reset `sentFrom`: with another limit, turns that were truncated may fit again.
  const sentFrom = history === undefined ? undefined : 0;
  return removeUndefined({ title, metadata, model, maxTokens, retentionSeconds, history, sentFrom });
}
