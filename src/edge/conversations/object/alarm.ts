/** Does what the alarm of a conversation is set for. */

import { retentionOf, UNREADABLE_MS } from '../../config/retention.ts';
import { within } from '../../kit/async/timeout.ts';
import { damageIn } from '../history/storage/damaged-row.ts';
import { GRACE_MS } from '../history/storage/rows.ts';
import { WATCH_MS } from './begin-turn.ts';
import { callHooks } from './call-hooks.ts';
import { type ConversationState, STOP_MS } from './conversation-state.ts';
import { eraseConversation } from './erase.ts';
import { CONFIRM_AGAIN_MS } from './maintenance.ts';
import { eraseDamaged } from './profile-changes.ts';

/** Renews the hold of the running turn, repeats unconfirmed settlements and reports, and deletes what has expired. */
export async function maintainConversation(state: ConversationState): Promise<void> {
  try {
    await maintainReadable(state);
    state.retries.succeeded('alarm');
  } catch (thrown) {
    if (!damageIn(thrown)) return retryAlarm(state, thrown);
    state.maintenance.noteDamage(thrown);
    await state.maintenance.endAlarm((profile) => eraseDamaged(state, profile));
  }
}

/** Has the alarm come again. The platform repeats one that throws only a few times, and then forgets it. */
function retryAlarm({ alarm, now, retries }: ConversationState, thrown: unknown): void {
  const nextAt = now() + CONFIRM_AGAIN_MS;
  alarm.wakeFor(nextAt);
  retries.failed('alarm', thrown, nextAt);
}

async function maintainReadable(state: ConversationState): Promise<void> {
  const { transcript, maintenance } = state;
  const { alarm, now } = state;
  const isDue = alarm.fired(now());
  // Without readable settings, neither the retention nor the account's address is known.
  if (retentionOf(() => state.settings()) === undefined) return alarm.wakeFor(now() + UNREADABLE_MS);
  state.recover();
  const { profile } = transcript;
  if (!profile) return;
  callHooks(state, 'settle', (part) => part.settle?.());
  callHooks(state, 'alarm', (part) => part.alarm?.());
  if (state.runner) {
    const next = now() + WATCH_MS;
    // What is due now is done once the turn has ended.
    if (isDue) alarm.wakeFor(next);
    else alarm.watch(next);
    // A renewal that fails is tried again by the next alarm, well before the hold's deadline.
    await within(state.runner.renew(), STOP_MS).then(
      () => state.retries.succeeded('hold_renewal'),
      (thrown: unknown) => state.retries.failed('hold_renewal', thrown, next),
    );
  } else if (state.isCopying) alarm.wakeFor(now() + GRACE_MS);
  else if (profile.exists && maintenance.expiresAt(profile) <= now()) await eraseConversation(state);
  else await maintenance.tidy();
}
