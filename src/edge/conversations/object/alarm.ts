/** Does what the alarm of a conversation is set for. */

import { readRetentionMs, SETTINGS_RETRY_MS } from '../../config/retention.ts';
import { withTimeout } from '../../kit/async/timeout.ts';
import { damageOf } from '../history/storage/damaged-row.ts';
import { GRACE_MS } from '../history/storage/rows.ts';
import { WATCH_MS } from './begin-turn.ts';
import { callHooks } from './call-hooks.ts';
import { type ConversationState, STOP_MS } from './conversation-state.ts';
import { eraseConversation } from './erase.ts';
import { CONFIRM_RETRY_MS } from './maintenance.ts';
import { eraseDamaged } from './profile-changes.ts';

/** Renews the hold of the running turn, repeats unconfirmed settlements and reports, and deletes what has expired. */
export async function maintainConversation(state: ConversationState): Promise<void> {
  try {
    await maintainReadable(state);
    state.retries.recordSuccess('alarm');
  } catch (thrown) {
    if (!damageOf(thrown)) return retryAlarm(state, thrown);
    state.maintenance.noteDamage(thrown);
    await state.maintenance.handleDamagedAlarm((profile) => eraseDamaged(state, profile));
  }
}

/** Has the alarm come again. The platform repeats one that throws only a few times, and then forgets it. */
function retryAlarm({ alarm, now, retries }: ConversationState, thrown: unknown): void {
  const nextAt = now() + CONFIRM_RETRY_MS;
  alarm.schedule(nextAt);
  retries.recordFailure('alarm', thrown, nextAt);
}

async function maintainReadable(state: ConversationState): Promise<void> {
  const { transcript, maintenance } = state;
  const { alarm, now } = state;
  const isDue = alarm.markFired(now());
  // Without readable settings, neither the retention nor the account's address is known.
  if (readRetentionMs(() => state.settings()) === undefined) return alarm.schedule(now() + SETTINGS_RETRY_MS);
  state.recover();
  const { profile } = transcript;
  if (!profile) return;
  callHooks(state, 'settle', (part) => part.settle?.());
  callHooks(state, 'alarm', (part) => part.alarm?.());
  if (state.runner) {
    const next = state.runner.waitsUntil ?? now() + WATCH_MS;
    // What is due now is done once the turn has ended.
    if (isDue) alarm.schedule(next);
    else alarm.watch(next);
    // A renewal that fails is tried again by the next alarm, well before the hold's deadline.
    await withTimeout(state.runner.renew(), STOP_MS).then(
      () => state.retries.recordSuccess('hold_renewal'),
      (thrown: unknown) => state.retries.recordFailure('hold_renewal', thrown, next),
    );
  } else if (state.isCopying) alarm.schedule(now() + GRACE_MS);
  else if (profile.exists && maintenance.expiresAt(profile) <= now()) await eraseConversation(state);
  else await maintenance.tidy();
}
