/** The work of a conversation after a change: settlements, reports to its account, deletion in time. */

import { type MeteredRequest, type RequestMeter, requestMeterOf } from '../accounts/admission/admission.ts';
import { DAY_MS } from '../async/durations.ts';
import { within } from '../async/timeout.ts';
import { callAccount } from '../durable/call-account.ts';
import type { Settled } from '../durable/contracts/settlement.ts';
import type { Settings } from '../settings/settings.ts';
import { releasePrefix } from './history/held-prefix.ts';
import type { HeldPrefix, Profile, TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import {
  correctCost,
  expiredTurns,
  oldestToExpire,
  turnAt,
  unconfirmedTurns,
  unsettledTurns,
} from './storage/turn-queries.ts';
import { conversationReportOf } from './turn/turn-ending.ts';
import { UNKNOWN_GRANT } from './turn/turn-runner.ts';

/** How long a turn can be resumed and attached to after its end. */
export const GRACE_MS = 10 * 60_000;
/** The time after which an unconfirmed settlement or report is repeated. */
export const CONFIRM_AGAIN_MS = 15_000;
const CONFIRM_MS = 60_000;

/** What maintenance needs of its object. */
export interface Maintained {
  transcript: Transcript;
  storage: DurableObjectStorage;
  accounts: MeteredRequest['accounts'];
  settings(): Settings;
  now(): number;
  waitUntil(work: Promise<unknown>): void;
  /** Whether a turn or a copy is running, so that nothing may be deleted. */
  isBusy(): boolean;
  erase(): Promise<unknown>;
}

/** Maintains a conversation. A crash loses nothing: what is not confirmed is in the rows, and an alarm repeats it. */
export class Maintenance {
  readonly #object: Maintained;
  #alarmAt: number | null = null;
  /** Turns whose settlement has been sent, and when; milliseconds since 1970. */
  readonly #settling = new Map<number, number>();

  constructor(object: Maintained) {
    this.#object = object;
  }

  /** Tells for when the alarm is set; null when it has just come. */
  set alarmAt(time: number | null) {
    this.#alarmAt = time;
  }

  /** @returns what settles a turn, even one that began before a crash. */
  meterOf(row: TurnRow): Pick<RequestMeter, 'settle'> {
    const request = {
      requestId: row.grant?.requestId ?? row.requestId,
      model: row.model,
      identity: { account: this.#object.transcript.profile?.account ?? '' },
      accounts: this.#object.accounts,
      settings: this.#object.settings(),
    };
    return requestMeterOf(request, row.grant ?? UNKNOWN_GRANT);
  }

  /**
   * Waits until the account confirms a settlement, and stores that, so that it need not be repeated. Without a
   * confirmation the alarm repeats the settlement; a repeated settlement changes nothing.
   */
  async confirm(row: TurnRow, done: Promise<Settled>): Promise<void> {
    const { seq } = row;
    // No timer ends this wait: the alarm repeats what takes too long.
    const since = this.#object.now();
    this.#settling.set(seq, since);
    try {
      const settled = await done;
      if (this.#object.transcript.profile) this.#object.transcript.settleTurn(row);
      if (settled.outcome !== 'erased') this.#correct(row, settled.cost + (row.grant?.earlier ?? 0));
      if (row.status === 'failed') this.forgetFailed(row);
      const { profile } = this.#object.transcript;
      if (settled.outcome === 'erased' && profile && !profile.deleted) await this.#object.erase();
    } catch {
      this.wakeFor(this.#object.now() + CONFIRM_AGAIN_MS);
    } finally {
      if (this.#settling.get(seq) === since) this.#settling.delete(seq);
    }
  }

  /** Stores the account's figure, which is the one that counts: a turn without a known usage has cost its hold. */
  #correct({ seq, id, cost }: TurnRow, settled: number): void {
    const { transcript } = this.#object;
    if (settled === cost) return;
    // Another confirmation may have corrected it already.
    const stored = turnAt(transcript, seq);
    const { profile } = transcript;
    if (stored?.id !== id || !profile) return;
    correctCost(transcript, stored, settled);
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
  async tidy(now: number): Promise<void> {
    this.deleteExpired(now);
    await this.settlePending();
    if (!this.#object.isBusy() && !this.#object.transcript.profile?.exists) await this.clear();
    else this.wakeNext();
  }

  /** Repeats what was not confirmed. */
  async settlePending(): Promise<void> {
    for (const row of unconfirmedTurns(this.#object.transcript)) {
      const { profile } = this.#object.transcript;
      if (!row.outcome || !profile) continue;
      if (this.#object.now() - (this.#settling.get(row.seq) ?? 0) < CONFIRM_MS) continue;
      const named = row.status === 'stopped' || row.status === 'interrupted' ? { status: row.status } : {};
      const ms = (row.endedAt ?? row.beganAt) - row.beganAt;
      const { done } = this.meterOf(row).settle(row.outcome, {
        ...named,
        ms,
        conversation: conversationReportOf(profile),
      });
      await within(this.confirm(row, done), CONFIRM_MS).catch(() =>
        this.wakeFor(this.#object.now() + CONFIRM_AGAIN_MS),
      );
    }
    await this.#report();
  }

  /** Reports a change to the account that no settlement has reported. */
  async #report(): Promise<void> {
    const { profile } = this.#object.transcript;
    if (!profile?.unreported) return;
    const { account } = profile;
    try {
      const request = { identity: { account }, accounts: this.#object.accounts, settings: this.#object.settings() };
      const { erased } = await within(
        callAccount(request, (object) => object.noteConversation(conversationReportOf(profile))),
        CONFIRM_MS,
      );
      const now = this.#object.transcript.profile;
      if (now?.version === profile.version) this.#object.transcript.save({ ...now, unreported: false });
      if (erased && !profile.deleted) await this.#object.erase();
    } catch {
      this.wakeFor(this.#object.now() + CONFIRM_AGAIN_MS);
    }
  }

  /** Deletes everything, once the conversation is gone and everything is confirmed. */
  async clear(): Promise<void> {
    if (this.#object.isBusy() || this.#object.transcript.profile?.exists) return;
    this.deleteExpired(this.#object.now());
    await this.settlePending();
    const { profile } = this.#object.transcript;
    if (this.#object.isBusy() || !profile || profile.exists) return;
    if (
      profile.unreported ||
      this.#object.transcript.turns().some(({ settled, status }) => !settled || status === 'running')
    ) {
      this.wakeFor(this.#object.now() + CONFIRM_AGAIN_MS);
      return;
    }
    if (!profile.deleted && this.#object.transcript.turns().some(({ status }) => status === 'failed')) {
      // A client may still resume a first turn to see how it failed.
      this.wakeNext();
      return;
    }
    if (profile.prefix && !(await this.#release(profile.prefix))) {
      this.wakeFor(this.#object.now() + CONFIRM_AGAIN_MS);
      return;
    }
    if (this.#object.isBusy() || this.#object.transcript.profile?.exists) return;
    // Both in one step: rows without an alarm would stay for ever, and a turn that begins in between would be deleted.
    const deletions = [this.#object.storage.deleteAlarm(), this.#object.storage.deleteAll()];
    this.#alarmAt = null;
    this.#object.transcript.forget();
    await Promise.all(deletions);
  }

  /** Releases the prefix. @returns whether its owner has confirmed it */
  async #release(held: HeldPrefix): Promise<boolean> {
    try {
      const reader = { accounts: this.#object.accounts, settings: this.#object.settings() };
      await within(releasePrefix(reader, held), CONFIRM_MS);
      return true;
    } catch {
      return false;
    }
  }

  /** Deletes the logs, and the failed turns, that ended too long ago to be resumed. */
  deleteExpired(now: number): void {
    const transcript = this.#object.transcript;
    for (const row of expiredTurns(transcript, now - GRACE_MS)) {
      transcript.log.delete(row.seq);
      if (row.status === 'failed' && row.settled) transcript.deleteTurn(row.seq);
    }
  }

  /** @returns whether a conversation's retention is over. */
  isExpired(profile: Profile, now: number): boolean {
    return profile.updatedAt + this.#retention(profile) <= now;
  }

  #retention({ retentionSeconds }: Profile): number {
    return retentionSeconds === null ? this.#object.settings().RETENTION_DAYS * DAY_MS : retentionSeconds * 1_000;
  }

  /** Sets the alarm for the next thing that is due. */
  wakeNext(): void {
    const { profile } = this.#object.transcript;
    if (!profile) return;
    const [pending] = unsettledTurns(this.#object.transcript);
    if (pending || profile.unreported) this.wakeFor(this.#object.now() + CONFIRM_AGAIN_MS);
    const oldest = oldestToExpire(this.#object.transcript);
    if (oldest !== undefined) this.wakeFor(oldest + GRACE_MS);
    if (profile.exists) this.wakeFor(profile.updatedAt + this.#retention(profile));
  }

  /** Sets the alarm, unless it is set for an earlier time already; `time` in milliseconds since 1970. */
  wakeFor(time: number): void {
    if (this.#alarmAt !== null && this.#alarmAt <= time) return;
    this.#alarmAt = time;
    void this.#object.storage.setAlarm(time);
  }

  /** Changes the profile, and reports that to the account. */
  change(change: Partial<Profile>): void {
    const { profile } = this.#object.transcript;
    if (!profile) return;
    const now = this.#object.now();
    const version = Math.max(profile.version + 1, now);
    this.#object.transcript.save({ ...profile, ...change, version, updatedAt: now, unreported: true });
    this.wakeFor(now + CONFIRM_AGAIN_MS);
    this.#object.waitUntil(this.#report());
  }
}
