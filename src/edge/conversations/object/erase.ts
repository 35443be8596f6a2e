/** Deletes a conversation. */

import { withTimeout } from '../../kit/async/timeout.ts';
import { stopPlugin } from './call-hooks.ts';
import type { ConversationKey } from './contract.ts';
import { type ConversationState, STOP_MS } from './conversation-state.ts';
import { CONFIRM_RETRY_MS } from './maintenance.ts';
import { eraseDamaged, storeDeletion } from './profile-changes.ts';

/** Deletes everything. @param place as of `erase` of the object. @param ends whether its account ends, and needs no report */
export async function eraseConversation(
  state: ConversationState,
  place: ConversationKey | undefined = state.transcript.readable,
  ends = false,
): Promise<boolean> {
  try {
    return await eraseReadable(state, ends);
  } catch (thrown) {
    if (!place) throw thrown;
    state.maintenance.noteDamage(thrown);
    await eraseDamaged(state, place);
    return true;
  }
}

async function eraseReadable(state: ConversationState, ends: boolean): Promise<boolean> {
  const { transcript, maintenance } = state;
  state.recover();
  const { profile } = transcript;
  if (!profile) return false;
  if (ends && (await maintenance.end())) return true;
  await state.stopWaiting();
  await state.stopPlugins();
  const existed = profile.exists || state.runner !== undefined;
  if (state.runner) {
    state.runner.stop();
    // This goes on in the same step in which the turn ends: no other turn begins in between.
    await withTimeout(state.runner.done, STOP_MS);
  }
  // The turn may have ended by itself, and a summary begun behind it. Its end is settled by the alarm.
  for (const part of state.hooks) void stopPlugin(state, part);
  state.alarm.schedule(state.now() + CONFIRM_RETRY_MS);
  storeDeletion(state, transcript.profile ?? profile);
  await maintenance.clear();
  return existed;
}
