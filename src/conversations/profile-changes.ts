/** How the profile of a conversation begins, and what a request changes in it. */

import type { ConversationPlace } from '../durable/contracts/conversation.ts';
import type { ConversationContext } from './conversation-context.ts';
import type { ConversationFields, ConversationPatch } from './conversations.schema.ts';
import type { TakenPrefix } from './history/held-prefix.ts';
import { newProfile } from './history/next-request.ts';
import { heldOf, releaseInBackground } from './prefix-holds.ts';
import type { Profile } from './storage/rows.ts';

/** @returns an empty profile, newer than what was stored here before. */
export function firstProfile({ transcript }: ConversationContext, place: ConversationPlace, now: number): Profile {
  return newProfile(place, now, Math.max((transcript.profile?.version ?? 0) + 1, now));
}

/** Stores the profile of a new conversation, and deletes what a failed turn or copy has left here. */
export function startConversation(context: ConversationContext, profile: Profile): void {
  const { transcript } = context;
  const { prefix, nextTurn = 1 } = transcript.profile ?? {};
  if (prefix) releaseInBackground(context, prefix);
  transcript.create(profile);
  // A listener of a failed turn must not hear another turn that has its number.
  const next = Math.max(nextTurn, transcript.newestTurn + 1);
  transcript.empty();
  if (next > profile.nextTurn) transcript.save({ ...profile, nextTurn: next });
}

/** Stores a new conversation, empty, with the defaults of its turns. */
export function storeCreated(
  context: ConversationContext,
  place: ConversationPlace,
  fields: Omit<ConversationFields, 'system' | 'tools'>,
  {
    system,
    tools,
    prefix,
  }: { system?: string | undefined; tools?: string | undefined; prefix?: TakenPrefix | undefined },
): void {
  const { transcript, maintenance, now } = context;
  const profile = firstProfile(context, place, now());
  startConversation(context, { ...profile, exists: true, unreported: true, prefix: heldOf(prefix) });
  transcript.together(() => {
    transcript.freeze('system', system);
    transcript.freeze('tools', tools);
    const { model, maxTokens } = prefix ?? {};
    maintenance.change({
      ...(model === undefined ? {} : { model }),
      ...(maxTokens === undefined ? {} : { maxTokens }),
      ...changesOf(fields),
    });
  });
}

/** Deletes everything but the profile, which the account must still be told about. */
export function storeDeletion({ transcript, now }: ConversationContext, profile: Profile): void {
  transcript.together(() => {
    transcript.empty();
    const version = Math.max(profile.version + 1, now());
    const gone = { exists: false, deleted: true, unreported: true, title: null, metadata: null };
    transcript.save({ ...profile, version, ...gone });
  });
}

/** @returns the members of the profile that a request changes. */
export function changesOf(fields: ConversationPatch & { model?: string | undefined }): Partial<Profile> {
  const change: Partial<Profile> = {};
  if (fields.title !== undefined) change.title = fields.title;
  if (fields.metadata !== undefined) change.metadata = fields.metadata;
  if (fields.model !== undefined) change.model = fields.model;
  if (fields.max_tokens !== undefined) change.maxTokens = fields.max_tokens;
  if (fields.retention_seconds !== undefined) change.retentionSeconds = fields.retention_seconds;
  if (fields.history !== undefined) {
    change.history = fields.history;
    // Under another limit, turns that were left out may fit again.
    change.sentFrom = 0;
  }
  return change;
}
