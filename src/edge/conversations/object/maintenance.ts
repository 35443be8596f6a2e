/** The work of a conversation after a change: settlements, reports to its account, and deletion when it has expired. */

import { DAY_MS } from '../../kit/async/durations.ts';
import { withTimeout } from '../../kit/async/timeout.ts';
import { logFailure } from '../../kit/http/log.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import { damageOf } from '../history/storage/damaged-row.ts';
import { GRACE_MS, type Profile, type RetainedPrefix } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { deleteExpired, findExpirableEnds, pauseReason, unsettledTurns } from '../history/storage/turn-queries.ts';
import { conversationReportOf } from '../turn/turn-ending.ts';
import type { TurnHandle } from '../turn/turn-handle.ts';
import { accountRequestOf } from './object-context.ts';
import { releasePrefix } from './retained-prefix.ts';
import { CONFIRM_MS, type SettlingObject, TurnSettlements } from './turn-settlements.ts';

/** Milliseconds after which an unconfirmed settlement or report is repeated. */
export const CONFIRM_RETRY_MS = 15_000;

/** Turns that end within so many milliseconds of each other share one watch. */
const WATCH_SHARING_MS = 30_000;

/** What maintenance needs from its object. */
interface MaintainedObject extends SettlingObject {
  /** Whether a turn or a copy is running, so that nothing may be deleted. */
  isBusy(): boolean;
  /** Whether a plugin has something under way for which only a watch wakes the object. */
  isOpen(): boolean;
}

/** Maintains a conversation. A crash loses nothing: unconfirmed work is in the rows, and an alarm repeats it. */
export class Maintenance {
  readonly settlements: TurnSettlements;
  readonly #object: MaintainedObject;
  #isTidying = false;
  /** When the object was last found at rest. */
  #restedAt = Number.NEGATIVE_INFINITY;

  constructor(object: MaintainedObject) {
    this.#object = object;
    const wake = () => this.#scheduleConfirmation();
    const report = () => this.reportSoon();
    this.settlements = new TurnSettlements(object, { wake, report, onSettled: () => this.resetAlarm() });
  }

  /** Confirms soon what a wake has found to be open. @param isOpen whether a settlement is */
  confirmSoon(isOpen: boolean): void {
    const { transcript, waitUntil } = this.#object;
    if (!isOpen && !transcript.profile?.unreported) return;
    this.#scheduleConfirmation();
    waitUntil(this.#confirmPending());
  }

  /** Writes a log line that says what is damaged. @throws what is no damage */
  noteDamage(thrown: unknown): void {
    const damage = damageOf(thrown);
    if (!damage) throw thrown;
    const { account = '', id: conversation = '' } = this.#object.transcript.readable ?? {};
    logFailure({ account, conversation }, damage);
  }

  /** Ends what an alarm could not end because it is damaged. The alarm comes again when the retention has ended, or a day later. */
  async handleDamagedAlarm(eraseDamaged: (profile: Profile) => Promise<unknown>): Promise<void> {
    const { transcript, alarm, now } = this.#object;
    const profile = transcript.readable;
    if (!profile) return;
    const end = this.#endOfRetention(profile);
    if (profile.deleted || end <= now()) await eraseDamaged(profile);
    else alarm.schedule(Math.max(end, now() + DAY_MS));
  }

  /** Deletes what has expired, repeats what was not confirmed, and sets the next alarm. */
  async tidy(): Promise<void> {
    const { transcript, isBusy } = this.#object;
    this.#isTidying = true;
    try {
      this.#deleteExpired();
      await this.#confirmPending();
      if (!isBusy() && !transcript.profile?.exists) await this.clear();
      else this.#scheduleNext();
    } finally {
      this.#isTidying = false;
    }
    if (!this.#isOpen) this.#object.alarm.endWatch();
  }

  /** Whether something is under way for which only a watch wakes the object. */
  get #isOpen(): boolean {
    const { transcript, isBusy, isOpen } = this.#object;
    const { profile } = transcript;
    if (isBusy() || this.#isTidying || isOpen() || this.settlements.isOpen) return true;
    return !profile || profile.deleted || profile.unreported;
  }

  /** Notes that the conversation is deleted after its retention. */
  noteRetention(): void {
    const { transcript, alarm } = this.#object;
    if (transcript.profile) alarm.schedule(this.#endOfRetention(transcript.profile));
  }

  /** Notes how a turn has ended. A failed one is forgotten after the grace period. Later logs replace the others. */
  noteEnd({ result: ended }: TurnHandle): void {
    if (ended?.status === 'failed') this.#object.alarm.schedule(this.#object.now() + GRACE_MS);
  }

  /**
   * Sets the alarm back to the next thing that is due, once nothing runs and the account has confirmed everything. So nothing
   * wakes the object only to find that nothing is left to do.
   */
  resetAlarm(): void {
    const { alarm, now } = this.#object;
    if (this.#isOpen) return;
    const before = this.#restedAt;
    this.#restedAt = now();
    // Turns that follow each other so closely share one watch: to set the alarm twice in each costs more than to wake once.
    if (this.#restedAt - before < WATCH_SHARING_MS) return;
    this.noteRetention();
    alarm.endWatch();
  }

  /** Repeats the settlements and the report that were not confirmed. */
  async #confirmPending(): Promise<void> {
    await this.settlements.settlePending();
    await this.#report();
  }

  /** Reports a change to the account that no settlement has reported. */
  async #report(): Promise<void> {
    const { transcript, erase } = this.#object;
    const { profile } = transcript;
    if (!profile?.unreported) return;
    try {
      const report = conversationReportOf(profile);
      const request = accountRequestOf(this.#object, { account: profile.account });
      const { erased } = await withTimeout(
        callAccount(request, (account) => account.noteConversation(report)),
        CONFIRM_MS,
      );
      const now = transcript.profile;
      if (now?.version === profile.version) transcript.save({ ...now, unreported: false });
      this.#object.retries.recordSuccess('conversation_report');
      this.resetAlarm();
      if (erased && !profile.deleted) await erase();
    } catch (thrown) {
      this.#scheduleConfirmation();
      this.#noteFailure('conversation_report', thrown);
    }
  }

  /** Deletes everything once the conversation is deleted and the account has confirmed all reports. */
  async clear(): Promise<void> {
    const { transcript, isBusy } = this.#object;
    if (isBusy() || transcript.profile?.exists) return;
    this.#deleteExpired();
    await this.#confirmPending();
    const { profile } = transcript;
    if (isBusy() || !profile || profile.exists) return;
    if (profile.unreported || transcript.has("turns where settled = 0 or status = 'running'")) {
      this.#scheduleConfirmation();
      return;
    }
    if (!profile.deleted && transcript.has("turns where status = 'failed'")) {
      // A client may still resume a first turn to see how it failed.
      this.#scheduleNext();
      return;
    }
    if (profile.prefix && !(await this.#release(profile.prefix))) {
      this.#scheduleConfirmation();
      return;
    }
    const nextAt = nextNotificationAt(transcript);
    if (nextAt !== undefined) {
      this.#object.alarm.schedule(nextAt);
      return;
    }
    if (isBusy() || transcript.profile?.exists) return;
    await this.#deleteRows();
  }

  /**
   * Deletes everything in one step, for an account that ends and needs no report.
   *
   * @returns false if there is still something to tell. Then nothing has changed
   */
  async end(): Promise<boolean> {
    const { transcript, isBusy } = this.#object;
    const isOpen = () =>
      isBusy() ||
      this.settlements.isOpen ||
      transcript.has("turns where settled = 0 or status = 'running'") ||
      nextNotificationAt(transcript) !== undefined;
    const { prefix } = transcript.profile ?? {};
    if (isOpen() || (prefix && !(await this.#release(prefix))) || isOpen()) return false;
    await this.#deleteRows();
    return true;
  }

  /** Deletes all rows. What begins after a wait would be deleted, so nobody waits before. */
  async #deleteRows(): Promise<void> {
    const deleted = this.#object.deleteAll();
    this.#object.transcript.forget();
    await deleted;
  }

  /** Releases the prefix. @returns whether its owner has confirmed it */
  async #release(retained: RetainedPrefix): Promise<boolean> {
    try {
      await withTimeout(releasePrefix(this.#object, retained), CONFIRM_MS);
      this.#object.retries.recordSuccess('prefix_release');
      return true;
    } catch (thrown) {
      this.#noteFailure('prefix_release', thrown);
      return false;
    }
  }

  /** Deletes the logs, and the failed turns, that ended too long ago to be resumed. */
  #deleteExpired(): void {
    const { transcript, now } = this.#object;
    const oldest = findExpirableEnds(transcript)?.oldest;
    const endedBy = now() - GRACE_MS;
    // Many alarms find nothing to delete. The next alarm asks for these times anyway.
    if (!oldest || oldest > endedBy) return;
    deleteExpired(transcript, endedBy);
  }

  /** @returns when the conversation expires, in milliseconds since 1970. What waits in it makes it later. */
  expiresAt(profile: Profile): number {
    const keptUntil = this.#object.transcript.firstFromPlugins((rows) => rows.keptUntil) ?? 0;
    return Math.max(this.#endOfRetention(profile), keptUntil);
  }

  /** @returns when a conversation has been kept for as long as it is to be kept, in milliseconds since 1970. */
  #endOfRetention({ updatedAt, retentionSeconds }: Profile): number {
    const usual = this.#object.settings().RETENTION_DAYS * DAY_MS;
    return updatedAt + (retentionSeconds === null ? usual : retentionSeconds * 1_000);
  }

  /** Sets the alarm for the next thing that is due. */
  #scheduleNext(): void {
    const { transcript, isBusy } = this.#object;
    const { profile } = transcript;
    if (!profile) return;
    // A summary that is made or settled must be looked after, too.
    const isOpen = unsettledTurns(transcript).length > 0 || isBusy();
    if (isOpen || profile.unreported) this.#scheduleConfirmation();
    const nextAt = nextNotificationAt(transcript);
    if (nextAt !== undefined) this.#object.alarm.schedule(nextAt);
    // One alarm forgets all turns that have failed by now.
    const failed = findExpirableEnds(transcript)?.failed;
    if (failed) this.#object.alarm.schedule(failed + GRACE_MS);
    if (profile.exists) this.#object.alarm.schedule(this.expiresAt(profile));
  }

  #noteFailure(task: 'conversation_report' | 'prefix_release', thrown: unknown): void {
    this.#object.retries.recordFailure(task, thrown, this.#object.now() + CONFIRM_RETRY_MS);
  }

  #scheduleConfirmation(): void {
    this.#object.alarm.schedule(this.#object.now() + CONFIRM_RETRY_MS);
  }

  /** Reports a change to the account in the background, if no settlement has reported it. */
  reportSoon(): void {
    const { transcript, waitUntil } = this.#object;
    if (!transcript.profile?.unreported) return;
    this.#watchReport();
    waitUntil(this.#report());
  }

  /** Reports to the account whether calls wait for approval, if that has changed. */
  notePaused(): void {
    const { transcript } = this.#object;
    const paused = pauseReason(transcript);
    if (transcript.profile && transcript.profile.paused !== paused) this.change({ paused });
  }

  /** Changes the profile, and reports that to the account. */
  change(change: Partial<Profile>): void {
    const { transcript, now, waitUntil } = this.#object;
    const { profile } = transcript;
    if (!profile) return;
    const updatedAt = now();
    const version = Math.max(profile.version + 1, updatedAt);
    this.#watchReport();
    transcript.save({ ...profile, ...change, version, updatedAt, unreported: true });
    waitUntil(this.#report());
  }

  /** Has an alarm repeat a report that is on its way, in case the object dies before its confirmation. */
  #watchReport(): void {
    this.#object.alarm.watch(this.#object.now() + CONFIRM_RETRY_MS);
  }
}

/** @returns when the next of what plugins have to tell is due; undefined if there is nothing */
function nextNotificationAt(transcript: Transcript): number | undefined {
  return transcript.firstFromPlugins(({ nextAt }) => nextAt);
}
