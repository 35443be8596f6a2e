/** Deletes a conversation. */

import { waitWithTimeout } from '../../kit/async/timeout.ts';
import { stopPluginWork } from './call-hooks.ts';
import type { ConversationKey } from './contract.ts';
import { type ConversationState, STOP_MS } from './conversation-state.ts';
import { eraseDamagedConversation, logDamage } from './damaged-conversation.ts';
import { CONFIRM_RETRY_MS } from './maintenance.ts';
import { deleteAllButProfile } from './profile-changes.ts';

/** Deletes everything. The parameters are those of `Conversation.erase`. */
export async function eraseConversation(
  state: ConversationState,
  conversationKey: ConversationKey | undefined = state.transcript.uncheckedProfile,
  isAccountDeleted = false,
): Promise<boolean> {
  try {
    return await eraseUndamagedConversation(state, isAccountDeleted);
  } catch (thrown) {
    if (!conversationKey) throw thrown;
    logDamage(state.transcript, thrown);
    await eraseDamagedConversation(state, conversationKey);
    return true;
  }
}

async function eraseUndamagedConversation(state: ConversationState, isAccountDeleted: boolean): Promise<boolean> {
  const { transcript, maintenance } = state;
  state.recoverFromCrash();
  const { storedProfile: profile } = transcript;
  if (!profile) return false;
  if (isAccountDeleted && (await maintenance.deleteRowsWithoutReport())) return true;
  await state.stopWaitingTurns();
  await state.stopPluginWork();
  const existed = profile.exists || state.lock.holder !== undefined;
  const { holder } = state.lock;
  if (holder) {
    holder.stopTurn();
    // No other turn can begin between the end of this turn and the deletion: the code after this await runs right after the
    // end of the turn, before any other event of the object.
    await waitWithTimeout(holder.done, STOP_MS);
  }
  // Stop the plugins a second time: if the turn ended by itself, it may have started a summary. The alarm settles that summary.
  for (const part of state.hooks) void stopPluginWork(state, part);
  state.alarm.scheduleAt(state.now() + CONFIRM_RETRY_MS);
  deleteAllButProfile(state, transcript.storedProfile ?? profile);
  await maintenance.deleteRowsIfReported();
  return existed;
}
