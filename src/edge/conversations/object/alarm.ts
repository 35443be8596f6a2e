/** Handles the alarm of a conversation. */

import { readRetentionMs, SETTINGS_RETRY_MS } from '../../config/retention.ts';
import { waitWithTimeout } from '../../kit/async/timeout.ts';
import { findDamageInError } from '../history/storage/damaged-row.ts';
import { GRACE_MS } from '../history/storage/rows.ts';
import { WATCH_MS } from './begin-turn.ts';
import { callHookOfEachPlugin } from './call-hooks.ts';
import { type ConversationState, STOP_MS } from './conversation-state.ts';
import { maintainDamagedConversation } from './damaged-conversation.ts';
import { eraseConversation } from './erase.ts';
import { CONFIRM_RETRY_MS } from './maintenance.ts';

/** Renews the hold of the running turn, repeats unconfirmed settlements and reports, and deletes what has expired. */
export async function maintainConversation(state: ConversationState): Promise<void> {
  try {
    await maintainUndamagedConversation(state);
    state.retries.recordSuccess('alarm');
  } catch (thrown) {
    if (!findDamageInError(thrown)) return scheduleAlarmRetry(state, thrown);
    await maintainDamagedConversation(state, thrown);
  }
}

/**
 * Sets the alarm again. The platform repeats an alarm that throws only a few times, and then deletes it:
 * https://developers.cloudflare.com/durable-objects/api/alarms
 */
function scheduleAlarmRetry({ alarm, now, retries }: ConversationState, thrown: unknown): void {
  const nextAt = now() + CONFIRM_RETRY_MS;
  alarm.scheduleAt(nextAt);
  retries.recordFailure('alarm', thrown, nextAt);
}

async function maintainUndamagedConversation(state: ConversationState): Promise<void> {
  const { transcript, maintenance } = state;
  const { alarm, now } = state;
  const isDue = alarm.markFired(now());
  // Try again later: without readable settings, neither the retention period nor the account's address is known.
  if (readRetentionMs(() => state.settings()) === undefined) return alarm.scheduleAt(now() + SETTINGS_RETRY_MS);
  state.recoverFromCrash();
  const { storedProfile: profile } = transcript;
  if (!profile) return;
  callHookOfEachPlugin(state, 'settleOpenWork', (part) => part.settleOpenWork?.());
  callHookOfEachPlugin(state, 'alarm', (part) => part.alarm?.());
  const { holder } = state.lock;
  if (holder) {
    // Wake again when the turn's wait ends, which may take minutes. But wake after `WATCH_MS` if the account has not confirmed
    // a settlement or a report: if the object dies, only the alarm repeats it.
    const isUnconfirmed = profile.unreported || maintenance.settlements.hasUnconfirmedSettlements;
    const next = (isUnconfirmed ? undefined : holder.waitsUntil) ?? now() + WATCH_MS;
    // Maintenance that is due waits until the turn has ended, so keep the alarm due. Otherwise, the alarm is only a watch: it
    // wakes the object if that has died, and is set back once nothing runs.
    if (isDue) alarm.scheduleAt(next);
    else alarm.scheduleWatchAt(next);
    // If the renewal fails, the next alarm repeats it, well before the hold's deadline.
    await waitWithTimeout(holder.renewHold(), STOP_MS).then(
      () => state.retries.recordSuccess('hold_renewal'),
      (thrown: unknown) => state.retries.recordFailure('hold_renewal', thrown, next),
    );
  } else if (state.lock.isStoringHistory) alarm.scheduleAt(now() + GRACE_MS);
  else if (profile.exists && maintenance.computeExpiryTime(profile) <= now()) await eraseConversation(state);
  else await maintenance.runDueMaintenance();
}
