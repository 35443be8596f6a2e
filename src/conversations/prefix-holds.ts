/** The holds that a conversation's object has on versions of prefixes. */

import type { ConversationPlace } from '../durable/contracts/conversation.ts';
import { logFailure } from '../http/log.ts';
import type { PrefixReader } from '../prefixes/find-prefix.ts';
import type { ConversationContext } from './conversation-context.ts';
import { releasePrefix, type TakenPrefix, takePrefix } from './history/held-prefix.ts';
import type { HeldPrefix } from './storage/rows.ts';

/** @returns what finds the prefixes that an account may read. */
export function prefixReaderOf({ env, settings }: ConversationContext, account: string): PrefixReader {
  return { account, accounts: env, store: env.STORE, settings: settings() };
}

/**
 * Takes a prefix for a conversation that begins.
 *
 * @throws ApiError 404 where there is none
 */
export async function takeFor(
  context: ConversationContext,
  { account, id }: ConversationPlace,
  ref: string,
): Promise<TakenPrefix> {
  return await takePrefix(prefixReaderOf(context, account), ref, id);
}

/** @returns the part of a taken prefix that the profile stores; null without one. */
export function heldOf(taken: TakenPrefix | undefined): HeldPrefix | null {
  if (!taken) return null;
  const { owner, name, hash, holder } = taken;
  return { owner, name, hash, holder };
}

/** Releases a prefix that was taken for a conversation which was not created, or which existed already. */
export function releaseUnused(context: ConversationContext, taken: TakenPrefix): void {
  const { profile } = context.transcript;
  if (profile?.prefix?.holder !== taken.holder) releaseInBackground(context, taken);
}

/** Releases a prefix without waiting. A release that fails is only logged: all it costs is a version that stays readable. */
export function releaseInBackground({ env, settings, waitUntil }: ConversationContext, held: HeldPrefix): void {
  const releasing = releasePrefix({ accounts: env, settings: settings() }, held);
  waitUntil(releasing.catch((thrown: unknown) => logFailure({ prefix_not_released: held.holder }, thrown)));
}
