import type { ConversationPlace, CrossingText, Result } from '../durable/contracts/conversation.ts';
import { conversationStub } from '../durable/stubs.ts';
import { ApiError } from '../http/errors.ts';
import type { ConversationContext } from './conversation-context.ts';
import { adopt } from './history/forks.ts';
import { holdPrefix } from './history/held-prefix.ts';
import { GRACE_MS } from './maintenance.ts';
import { prefixReaderOf, releaseInBackground } from './prefix-holds.ts';
import { firstProfile, startConversation } from './profile-changes.ts';
import type { HeldPrefix } from './storage/rows.ts';

/** Sends the lines of a fork to the conversation that becomes the copy. @returns that conversation, as `read` does */
export async function sendCopy(
  { env, settings }: ConversationContext,
  place: ConversationPlace,
  lines: ReadableStream<Uint8Array>,
): Promise<Result<CrossingText>> {
  return await (conversationStub(env, settings(), place).adopt(place, lines) as Promise<Result<CrossingText>>);
}

/**
 * Stores the copy of another conversation: all of it, or nothing.
 *
 * @param lines what `forkTo` of the other conversation wrote
 * @throws ApiError 500 for a copy that is not complete
 */
export async function storeCopy(
  context: ConversationContext,
  place: ConversationPlace,
  lines: ReadableStream<Uint8Array>,
): Promise<void> {
  const { transcript, maintenance, now } = context;
  let held: HeldPrefix | undefined;
  try {
    startConversation(context, firstProfile(context, place, now()));
    // After a crash in the middle the alarm deletes what was written.
    maintenance.wakeFor(now() + GRACE_MS);
    const copied = await adopt(transcript, lines);
    if (copied?.prefix) {
      held = await holdPrefix(prefixReaderOf(context, place.account), copied.prefix, place.id);
      copied.prefix = held;
    }
    if (!copied || transcript.profile?.deleted)
      throw new ApiError('api_error', 'The conversation could not be copied whole. Try again.');
    maintenance.change({ ...copied, exists: true });
  } catch (thrown) {
    transcript.empty();
    if (held) releaseInBackground(context, held);
    maintenance.wakeFor(now());
    throw thrown;
  }
}
