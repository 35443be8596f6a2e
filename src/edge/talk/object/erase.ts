/** Deletes a conversation, and does what its alarm is set for. */

import { retentionOf, UNREADABLE_MS } from '../../gate/settings/retention.ts';
import { within } from '../../kit/async/timeout.ts';
import { GRACE_MS } from '../history/storage/rows.ts';
import { WATCH_MS } from './begin-turn.ts';
import type { ConversationPlace } from './contract.ts';
import { type ConversationState, STOP_MS } from './conversation-state.ts';
import { CONFIRM_AGAIN_MS } from './maintenance.ts';
import { eraseDamaged, storeDeletion } from './profile-changes.ts';

/** Deletes everything. @param place as of `erase` of the object. @param ends whether its account ends, and needs no report */
export async function eraseConversation(
  state: ConversationState,
  place: ConversationPlace | undefined = state.transcript.readable,
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
  await state.stopParts();
  const existed = profile.exists || state.runner !== undefined;
  if (state.runner) {
    state.runner.stop();
    // This goes on in the same step in which the turn ends: no other turn begins in between.
    await within(state.runner.done, STOP_MS);
  }
  // The turn may have ended by itself, and a summary begun behind it. Its end is settled by the alarm.
  for (const part of state.parts) void part.stop?.();
  storeDeletion(state, transcript.profile ?? profile);
  state.alarm.wakeFor(state.now() + CONFIRM_AGAIN_MS);
  await maintenance.clear();
  return existed;
}

/** Renews the hold of the running turn, repeats unconfirmed settlements and reports, and deletes what has expired. */
export async function tendConversation(state: ConversationState): Promise<void> {
  try {
    await tendReadable(state);
  } catch (thrown) {
    state.maintenance.noteDamage(thrown);
    await state.maintenance.endAlarm((profile) => eraseDamaged(state, profile));
  }
}

async function tendReadable(state: ConversationState): Promise<void> {
  const { transcript, maintenance } = state;
  const { alarm, now } = state;
  const isDue = alarm.fired(now());
  // Without readable settings, neither the retention nor the account's address is known.
  if (retentionOf(() => state.settings()) === undefined) return alarm.wakeFor(now() + UNREADABLE_MS);
  state.recover();
  const { profile } = transcript;
  if (!profile) return;
  for (const part of state.parts) part.settle?.();
  for (const part of state.parts) part.alarm?.();
  if (state.runner) {
    const next = now() + WATCH_MS;
    // What is due now is done once the turn has ended.
    if (isDue) alarm.wakeFor(next);
    else alarm.watch(next);
    // A renewal that fails is tried again by the next alarm, well before the hold's deadline.
    await within(state.runner.renew(), STOP_MS).catch(() => {});
  } else if (state.isCopying) alarm.wakeFor(now() + GRACE_MS);
  else if (profile.exists && maintenance.expiresAt(profile) <= now()) await eraseConversation(state);
  else await maintenance.tidy();
}
