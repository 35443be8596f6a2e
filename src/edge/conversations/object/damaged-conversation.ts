/**
 * A conversation whose stored rows cannot be read. Its running work ends, it is kept until the end of its retention, and it can
 * be deleted. No other conversation is affected.
 */

import { DAY_MS } from '../../kit/async/durations.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import { catchDamagedRow, type DamagedRow, DamagedTable, findDamageInError } from '../history/storage/damaged-row.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { endDamagedTurns } from '../turn/end-damaged-turns.ts';
import type { ConversationKey } from './contract.ts';
import type { ConversationContext } from './hooks.ts';
import { createEmptyProfile } from './profile-changes.ts';
import { releasePrefixInBackground } from './retained-prefix.ts';

/**
 * Ends all running work without reading damaged rows, so that it does not begin again and again. @throws any error that is not
 * damage
 */
export function endDamagedWork({ transcript, lock, now }: ConversationContext, thrown: unknown): void {
  const damage = logDamage(transcript, thrown);
  lock.releaseDamaged();
  transcript.damage ??=
    damage instanceof DamagedTable ? damage : catchDamagedRow(() => endDamagedTurns(transcript, now()));
}

/**
 * Does what an alarm could not do because of damaged rows: deletes the conversation if it has expired. Otherwise, the alarm comes
 * again at the end of the retention, or a day later.
 */
export async function maintainDamagedConversation(conversation: ConversationContext, thrown: unknown): Promise<void> {
  const { transcript, maintenance, alarm, now } = conversation;
  logDamage(transcript, thrown);
  const { uncheckedProfile: profile } = transcript;
  if (!profile) return;
  const end = maintenance.computeRetentionEnd(profile);
  if (profile.deleted || end <= now()) await eraseDamagedConversation(conversation, profile);
  else alarm.scheduleAt(Math.max(end, now() + DAY_MS));
}

/** Deletes a conversation that cannot be read, and reports that to the account. */
export async function eraseDamagedConversation(
  conversation: ConversationContext,
  { account, id }: ConversationKey,
): Promise<void> {
  const { transcript, maintenance, now, alarm } = conversation;
  const prefix = transcript.uncheckedProfile?.prefix;
  await conversation.deleteRowsAndAlarm();
  transcript.clearMemory();
  alarm.scheduleAt(now());
  transcript.createConversation({ ...createEmptyProfile({ account, id }, now(), 0), deleted: true, unreported: true });
  if (prefix) releasePrefixInBackground(conversation, prefix);
  await maintenance.deleteRowsIfReported();
}

/** Writes a log line that names the damage. @returns the damage @throws any error that is not damage */
export function logDamage(transcript: Transcript, thrown: unknown): DamagedRow {
  const damage = findDamageInError(thrown);
  if (!damage) throw thrown;
  const { account = '', id: conversation = '' } = transcript.uncheckedProfile ?? {};
  logBackgroundFailure({ account, conversation }, damage);
  return damage;
}
