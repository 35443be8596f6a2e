/** The work of a conversation after a change: settlements, reports to its account, deletion when the time has come. */

import type { RequestMeter } from '../accounts/admission/metered-request.ts';
import { requestMeterOf } from '../accounts/admission/request-meter.ts';
import { DAY_MS } from '../async/durations.ts';
import { within } from '../async/timeout.ts';
import { Alarm } from '../durable/alarm.ts';
import { callAccount } from '../durable/call-account.ts';
import type { Settled } from '../durable/contracts/settlement.ts';
import { releasePrefix } from './held-prefix.ts';
import type { ObjectContext } from './object-context.ts';
import type { HeldPrefix, Profile, TurnRow } from './storage/rows.ts';
import { expiredTurns, oldestToExpire, turnAt, unsettledTurns } from './storage/turn-queries.ts';
import { restoreCrashed } from './turn/restore-turn.ts';
import { conversationReportOf } from './turn/turn-ending.ts';
import { UNKNOWN_GRANT } from './turn/turn-runner.ts';
import { died } from './turn-answer.ts';

/** How long a turn can be resumed and attached to after its end. */
export const GRACE_MS = 10 * 60_000;
/** The time after which an unconfirmed settlement or report is repeated. */
export const CONFIRM_AGAIN_MS = 15_000;
const CONFIRM_MS = 60_000;

/** What maintenance needs of its object. */
interface Maintained extends ObjectContext {
  storage: DurableObjectStorage;
  /** Whether a turn or a copy is running, so that nothing may be deleted. */
  isBusy(): boolean;
  erase(): Promise<unknown>;
}

/** The object's context, with its maintenance. */
export interface ConversationContext extends ObjectContext {
  maintenance: Maintenance;
}

/** Maintains a conversation. A crash loses nothing: what is not confirmed is in the rows, and an alarm repeats it. */
export class Maintenance {
  readonly alarm: Alarm;
  readonly #object: Maintained;
  /** Turns whose settlement has been sent, and when; milliseconds since 1970. */
  readonly #settling = new Map<number, number>();

  constructor(object: Maintained) {
    this.#object = object;
    this.alarm = new Alarm(object.storage);
  }

  /** Ends the turns that were running when the object died, and settles what is not settled. */
  endCrashedTurns(): void {
    const { transcript, now, waitUntil } = this.#object;
    const unsettled = unsettledTurns(transcript);
    for (const row of unsettled.filter(({ status }) => status === 'running')) {
      const turn = restoreCrashed(transcript, row);
      const meter = this.#meterOf(turn.row);
      const settled = transcript.together(() => turn.end({ kind: 'cut', error: died(), end: 'cut' }, meter, now()));
      if (settled !== undefined) waitUntil(this.confirm(turn.row, settled));
    }
    const { profile } = transcript;
    // A first turn must not continue a copy that was interrupted.
    if (profile && !profile.exists && !profile.deleted) transcript.dropUnborn();
    if (unsettled.length === 0 && !profile?.unreported) return;
    this.#wakeToConfirm();
    waitUntil(this.settlePending());
  }

  /** @returns what settles a turn, even one that began before a crash. */
  #meterOf(row: TurnRow): Pick<RequestMeter, 'settle'> {
    const account = this.#object.transcript.profile?.account ?? '';
    const requestId = row.grant?.requestId ?? row.requestId;
    return requestMeterOf(
      { ...this.#accountRequest(account), requestId, model: row.model },
      row.grant ?? UNKNOWN_GRANT,
    );
  }

  #accountRequest(account: string) {
    return { identity: { account }, accounts: this.#object.env, settings: this.#object.settings() };
  }

  /**
   * Waits until the account confirms a settlement, and stores that, so that it need not be repeated. Without a
   * confirmation the alarm repeats the settlement; a repeated settlement changes nothing.
   */
  async confirm(row: TurnRow, done: Promise<Settled>): Promise<void> {
    const { transcript, now, erase } = this.#object;
    const { seq } = row;
    // No timer ends this wait: the alarm repeats what takes too long.
    const since = now();
    this.#settling.set(seq, since);
    try {
      const settled = await done;
      if (transcript.profile) transcript.changeTurn(row, { settled: true });
      if (settled.outcome !== 'erased') this.#correctCost(row, settled.cost + (row.grant?.earlier ?? 0));
      if (row.status === 'failed') this.forgetFailed(row);
      const { profile } = transcript;
      if (settled.outcome === 'erased' && profile && !profile.deleted) await erase();
    } catch {
      this.#wakeToConfirm();
    } finally {
      if (this.#settling.get(seq) === since) this.#settling.delete(seq);
    }
  }

  /** Stores the account's figure, which is the one that counts: a turn without a known usage has cost its hold. */
  #correctCost({ seq, id, cost }: TurnRow, settled: number): void {
    const { transcript } = this.#object;
    if (settled === cost) return;
    // Another confirmation may have corrected it already.
    const stored = turnAt(transcript, seq);
    const { profile } = transcript;
    if (stored?.id !== id || !profile) return;
    transcript.changeTurn(stored, { cost: settled });
    transcript.save({ ...profile, cost: profile.cost + settled - stored.cost });
  }

  /** Deletes the row of a failed turn that is settled and has shown no event. */
  forgetFailed({ seq, id }: TurnRow): void {
    const { transcript } = this.#object;
    const stored = turnAt(transcript, seq);
    if (stored?.id !== id || stored.status !== 'failed' || !stored.settled) return;
    if (transcript.log.count(seq) === 0) transcript.deleteTurn(seq);
  }

  /** Deletes what has expired, repeats what was not confirmed, and sets the next alarm. */
  async tidy(): Promise<void> {
    const { transcript, isBusy } = this.#object;
    this.#deleteExpired();
    await this.settlePending();
    if (!isBusy() && !transcript.profile?.exists) await this.clear();
    else this.#wakeNext();
  }

  /** Repeats what was not confirmed. */
  async settlePending(): Promise<void> {
    const { transcript } = this.#object;
    for (const row of unsettledTurns(transcript)) {
      const { outcome, status } = row;
      const { profile } = transcript;
      if (status === 'running' || !outcome || !profile) continue;
      if (this.#object.now() - (this.#settling.get(row.seq) ?? 0) < CONFIRM_MS) continue;
      const { done } = this.#meterOf(row).settle(outcome, {
        ...(status === 'stopped' || status === 'interrupted' ? { status } : {}),
        ms: (row.endedAt ?? row.beganAt) - row.beganAt,
        conversation: conversationReportOf(profile),
      });
      await within(this.confirm(row, done), CONFIRM_MS).catch(() => this.#wakeToConfirm());
    }
    await this.#report();
  }

  /** Reports a change to the account that no settlement has reported. */
  async #report(): Promise<void> {
    const { transcript, erase } = this.#object;
    const { profile } = transcript;
    if (!profile?.unreported) return;
    try {
      const report = conversationReportOf(profile);
      const request = this.#accountRequest(profile.account);
      const { erased } = await within(
        callAccount(request, (account) => account.noteConversation(report)),
        CONFIRM_MS,
      );
      const now = transcript.profile;
      if (now?.version === profile.version) transcript.save({ ...now, unreported: false });
      if (erased && !profile.deleted) await erase();
    } catch {
      this.#wakeToConfirm();
    }
  }

  /** Deletes everything, once the conversation is gone and everything is confirmed. */
  async clear(): Promise<void> {
    const { transcript, storage, isBusy } = this.#object;
    if (isBusy() || transcript.profile?.exists) return;
    this.#deleteExpired();
    await this.settlePending();
    const { profile } = transcript;
    if (isBusy() || !profile || profile.exists) return;
    const turns = transcript.turns();
    if (profile.unreported || turns.some(({ settled, status }) => !settled || status === 'running')) {
      this.#wakeToConfirm();
      return;
    }
    if (!profile.deleted && turns.some(({ status }) => status === 'failed')) {
      // A client may still resume a first turn to see how it failed.
      this.#wakeNext();
      return;
    }
    if (profile.prefix && !(await this.#release(profile.prefix))) {
      this.#wakeToConfirm();
      return;
    }
    if (isBusy() || transcript.profile?.exists) return;
    // Both in one step: rows without an alarm would stay for ever, and a turn that begins in between would be deleted.
    const deletions = [storage.deleteAlarm(), storage.deleteAll()];
    this.alarm.fired();
    transcript.forget();
    await Promise.all(deletions);
  }

  /** Releases the prefix. @returns whether its owner has confirmed it */
  async #release(held: HeldPrefix): Promise<boolean> {
    try {
      await within(releasePrefix(this.#object, held), CONFIRM_MS);
      return true;
    } catch {
      return false;
    }
  }

  /** Deletes the logs, and the failed turns, that ended too long ago to be resumed. */
  #deleteExpired(): void {
    const { transcript, now } = this.#object;
    for (const row of expiredTurns(transcript, now() - GRACE_MS)) {
      transcript.log.delete(row.seq);
      if (row.status === 'failed' && row.settled) transcript.deleteTurn(row.seq);
    }
  }

  /** @returns when a conversation's retention is over; milliseconds since 1970 */
  expiresAt({ updatedAt, retentionSeconds }: Profile): number {
    const retentionMs =
      retentionSeconds === null ? this.#object.settings().RETENTION_DAYS * DAY_MS : retentionSeconds * 1_000;
    return updatedAt + retentionMs;
  }

  /** Sets the alarm for the next thing that is due. */
  #wakeNext(): void {
    const { transcript } = this.#object;
    const { profile } = transcript;
    if (!profile) return;
    if (unsettledTurns(transcript).length > 0 || profile.unreported) this.#wakeToConfirm();
    const oldest = oldestToExpire(transcript);
    if (oldest !== undefined) this.alarm.wakeFor(oldest + GRACE_MS);
    if (profile.exists) this.alarm.wakeFor(this.expiresAt(profile));
  }

  #wakeToConfirm(): void {
    this.alarm.wakeFor(this.#object.now() + CONFIRM_AGAIN_MS);
  }

  /** Changes the profile, and reports that to the account. */
  change(change: Partial<Profile>): void {
    const { transcript, now, waitUntil } = this.#object;
    const { profile } = transcript;
    if (!profile) return;
    const updatedAt = now();
    const version = Math.max(profile.version + 1, updatedAt);
    transcript.save({ ...profile, ...change, version, updatedAt, unreported: true });
    this.#wakeToConfirm();
    waitUntil(this.#report());
  }
}
