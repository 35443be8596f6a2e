/** The work of a conversation after a change: settlements, reports to its account, and deletion when it has expired. */

import { DAY_MS } from '../../kit/async/durations.ts';
import { waitWithTimeout } from '../../kit/async/timeout.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import { type ConversationProfile, GRACE_MS, type RetainedPrefix } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import {
  deleteExpired,
  findConversationPauseReason,
  findExpirableTurnEndTimes,
  listUnsettledTurns,
} from '../history/storage/turn-queries.ts';
import { createConversationReport } from '../turn/turn-ending.ts';
import type { TurnHandle } from '../turn/turn-handle.ts';
import { createAccountRequest } from './object-context.ts';
import { releasePrefix } from './retained-prefix.ts';
import { CONFIRM_MS, type TurnSettlementDependencies, TurnSettlementTracker } from './turn-settlements.ts';

/** Milliseconds after which an unconfirmed settlement or report is repeated. */
export const CONFIRM_RETRY_MS = 15_000;

/** Turns that end within so many milliseconds of each other share one watch. */
const WATCH_SHARING_MS = 30_000;

/** What maintenance needs from its object. */
interface MaintenanceDependencies extends TurnSettlementDependencies {
  /** Whether a turn or a copy is running, so that nothing may be deleted. */
  hasRunningWork(): boolean;
  /** Whether a plugin has something under way for which only a watch wakes the object. */
  hasPendingPluginWork(): boolean;
}

/** Maintains a conversation. A crash loses nothing: unconfirmed work is in the rows, and an alarm repeats it. */
export class ConversationMaintainer {
  readonly settlements: TurnSettlementTracker;
  readonly #object: MaintenanceDependencies;
  #isTidying = false;
  /** When the object was last found at rest. */
  #restedAt = Number.NEGATIVE_INFINITY;

  constructor(object: MaintenanceDependencies) {
    this.#object = object;
    const scheduleConfirmation = () => this.#scheduleConfirmation();
    const reportInBackground = () => this.reportChangesInBackground();
    this.settlements = new TurnSettlementTracker(object, {
      scheduleRetry: scheduleConfirmation,
      reportConversation: reportInBackground,
      onSettled: () => this.resetAlarmToNextDue(),
    });
  }

  /** Confirms open settlements and reports soon after a wake. */
  confirmInBackground(hasUnconfirmedSettlements: boolean): void {
    const { transcript, waitUntil } = this.#object;
    if (!hasUnconfirmedSettlements && !transcript.storedProfile?.unreported) return;
    this.#scheduleConfirmation();
    waitUntil(this.#repeatUnconfirmedReports());
  }

  /** Deletes what has expired, repeats unconfirmed settlements and reports, and sets the next alarm. */
  async runDueMaintenance(): Promise<void> {
    const { transcript, hasRunningWork } = this.#object;
    this.#isTidying = true;
    try {
      this.#deleteExpiredLogsAndTurns();
      await this.#repeatUnconfirmedReports();
      if (!hasRunningWork() && !transcript.storedProfile?.exists) await this.deleteRowsIfReported();
      else this.#scheduleNextAlarm();
    } finally {
      this.#isTidying = false;
    }
    if (!this.#needsWatch) this.#object.alarm.endWatch();
  }

  /** Whether something is under way for which only a watch wakes the object. */
  get #needsWatch(): boolean {
    const { transcript, hasRunningWork, hasPendingPluginWork } = this.#object;
    const { storedProfile: profile } = transcript;
    if (hasRunningWork() || this.#isTidying || hasPendingPluginWork() || this.settlements.hasUnconfirmedSettlements)
      return true;
    return !profile || profile.deleted || profile.unreported || this.#isPausedStateOutdated;
  }

  /** Sets the alarm to the end of the conversation's retention, when it is deleted. */
  scheduleRetentionEnd(): void {
    const { transcript, alarm } = this.#object;
    if (transcript.storedProfile) alarm.scheduleAt(this.computeRetentionEnd(transcript.storedProfile));
  }

  /**
   * Sets the alarm for a failed turn, which is deleted after the grace period. Logs of other turns are overwritten by later
   * logs.
   */
  scheduleFailedTurnDeletion({ result: ended }: TurnHandle): void {
    if (ended?.status === 'failed') this.#object.alarm.scheduleAt(this.#object.now() + GRACE_MS);
  }

  /**
   * Sets the alarm back to the next thing that is due, once nothing runs and the account has confirmed everything. So nothing
   * wakes the object only to find that nothing is left to do.
   */
  resetAlarmToNextDue(): void {
    const { alarm, now } = this.#object;
    if (this.#needsWatch) return;
    const before = this.#restedAt;
    this.#restedAt = now();
    // Keep the alarm if turns follow each other quickly: setting it twice for each turn costs more than one unnecessary wake.
    if (this.#restedAt - before < WATCH_SHARING_MS) return;
    this.scheduleRetentionEnd();
    alarm.endWatch();
  }

  /** Repeats the settlements and the report that were not confirmed. */
  async #repeatUnconfirmedReports(): Promise<void> {
    await this.settlements.repeatUnconfirmedSettlements();
    if (this.#isPausedStateOutdated) this.saveProfileMembers({});
    await this.#reportToAccount();
  }

  /** Reports a change to the account that no settlement has reported. */
  async #reportToAccount(): Promise<void> {
    const { transcript, erase } = this.#object;
    const { storedProfile: profile } = transcript;
    if (!profile?.unreported) return;
    try {
      const report = createConversationReport(profile);
      const request = createAccountRequest(this.#object, { account: profile.account });
      const { erased } = await waitWithTimeout(
        callAccount(request, (account) => account.noteConversation(report)),
        CONFIRM_MS,
      );
      const now = transcript.storedProfile;
      if (now?.version === profile.version) transcript.saveProfile({ ...now, unreported: false });
      this.#object.retries.recordSuccess('conversation_report');
      this.resetAlarmToNextDue();
      if (erased && !profile.deleted) await erase();
    } catch (thrown) {
      this.#scheduleConfirmation();
      this.#recordTaskFailure('conversation_report', thrown);
    }
  }

  /** Deletes everything once the conversation is deleted and the account has confirmed all reports. */
  async deleteRowsIfReported(): Promise<void> {
    const { transcript, hasRunningWork } = this.#object;
    if (hasRunningWork() || transcript.storedProfile?.exists) return;
    this.#deleteExpiredLogsAndTurns();
    await this.#repeatUnconfirmedReports();
    const { storedProfile: profile } = transcript;
    if (hasRunningWork() || !profile || profile.exists) return;
    if (profile.unreported || transcript.hasRows("turns where settled = 0 or status = 'running'")) {
      this.#scheduleConfirmation();
      return;
    }
    if (!profile.deleted && transcript.hasRows("turns where status = 'failed'")) {
      // Keep the failed first turn until its grace period ends: its client may still resume it to see the error.
      this.#scheduleNextAlarm();
      return;
    }
    if (profile.prefix && !(await this.#releasePrefix(profile.prefix))) {
      this.#scheduleConfirmation();
      return;
    }
    const nextAt = findNextNotificationTime(transcript);
    if (nextAt !== undefined) {
      this.#object.alarm.scheduleAt(nextAt);
      return;
    }
    if (hasRunningWork() || transcript.storedProfile?.exists) return;
    await this.#deleteAllRows();
  }

  /**
   * Deletes everything in one step, for an account that is deleted and needs no report.
   *
   * @returns false if a report or notification is still pending. Then nothing has changed
   */
  async deleteRowsWithoutReport(): Promise<boolean> {
    const { transcript, hasRunningWork } = this.#object;
    const hasOpenWork = () =>
      hasRunningWork() ||
      this.settlements.hasUnconfirmedSettlements ||
      transcript.hasRows("turns where settled = 0 or status = 'running'") ||
      findNextNotificationTime(transcript) !== undefined;
    const { prefix } = transcript.storedProfile ?? {};
    if (hasOpenWork() || (prefix && !(await this.#releasePrefix(prefix))) || hasOpenWork()) return false;
    await this.#deleteAllRows();
    return true;
  }

  /** Deletes all rows. There must be no await before the deletion, which would delete what begins in the meantime. */
  async #deleteAllRows(): Promise<void> {
    const deleted = this.#object.deleteRowsAndAlarm();
    this.#object.transcript.clearMemory();
    await deleted;
  }

  /** Releases the prefix. @returns whether its owner has confirmed it */
  async #releasePrefix(retained: RetainedPrefix): Promise<boolean> {
    try {
      await waitWithTimeout(releasePrefix(this.#object, retained), CONFIRM_MS);
      this.#object.retries.recordSuccess('prefix_release');
      return true;
    } catch (thrown) {
      this.#recordTaskFailure('prefix_release', thrown);
      return false;
    }
  }

  /** Deletes the logs, and the failed turns, that ended too long ago to be resumed. */
  #deleteExpiredLogsAndTurns(): void {
    const { transcript, now } = this.#object;
    const oldest = findExpirableTurnEndTimes(transcript)?.oldest;
    const endedBy = now() - GRACE_MS;
    // Return early, because most alarms find nothing to delete. This check costs nothing extra: the next alarm needs these
    // times anyway.
    if (!oldest || oldest > endedBy) return;
    deleteExpired(transcript, endedBy);
  }

  /** @returns when the conversation expires, in milliseconds since 1970. It is later if a plugin's rows keep it longer. */
  computeExpiryTime(profile: ConversationProfile): number {
    const keptUntil = this.#object.transcript.findFirstFromPlugins((rows) => rows.keptUntil) ?? 0;
    return Math.max(this.computeRetentionEnd(profile), keptUntil);
  }

  /** @returns when a conversation has been kept for as long as it is to be kept, in milliseconds since 1970. */
  computeRetentionEnd({ updatedAt, retentionSeconds }: ConversationProfile): number {
    const usual = this.#object.settings().RETENTION_DAYS * DAY_MS;
    return updatedAt + (retentionSeconds === null ? usual : retentionSeconds * 1_000);
  }

  /** Sets the alarm for the next thing that is due. */
  #scheduleNextAlarm(): void {
    const { transcript, hasRunningWork } = this.#object;
    const { storedProfile: profile } = transcript;
    if (!profile) return;
    // Running work of a plugin, such as a summary, also needs the alarm, which settles it if the object dies.
    const hasUnsettledWork = listUnsettledTurns(transcript).length > 0 || hasRunningWork();
    if (hasUnsettledWork || profile.unreported) this.#scheduleConfirmation();
    const nextAt = findNextNotificationTime(transcript);
    if (nextAt !== undefined) this.#object.alarm.scheduleAt(nextAt);
    // Schedule only one alarm for all failed turns: it deletes all that have failed by now.
    const failed = findExpirableTurnEndTimes(transcript)?.failed;
    if (failed) this.#object.alarm.scheduleAt(failed + GRACE_MS);
    if (profile.exists) this.#object.alarm.scheduleAt(this.computeExpiryTime(profile));
  }

  #recordTaskFailure(task: 'conversation_report' | 'prefix_release', thrown: unknown): void {
    this.#object.retries.recordFailure(task, thrown, this.#object.now() + CONFIRM_RETRY_MS);
  }

  #scheduleConfirmation(): void {
    this.#object.alarm.scheduleAt(this.#object.now() + CONFIRM_RETRY_MS);
  }

  /** Reports a change to the account in the background, if no settlement has reported it. */
  reportChangesInBackground(): void {
    const { transcript, waitUntil } = this.#object;
    if (!transcript.storedProfile?.unreported) return;
    this.#watchPendingReport();
    waitUntil(this.#reportToAccount());
  }

  /** Stores in the profile whether calls wait for approval, and reports that to the account, if it has changed. */
  updatePausedState(): void {
    if (this.#isPausedStateOutdated) this.changeRows(() => {});
  }

  /** Whether the profile and the rows differ about whether calls wait for approval, because a write has failed. */
  get #isPausedStateOutdated(): boolean {
    const { transcript } = this.#object;
    const { storedProfile: profile } = transcript;
    return profile !== undefined && profile.paused !== findConversationPauseReason(transcript);
  }

  /** Changes the profile, and reports that to the account. */
  changeProfile(members: Partial<ConversationProfile>): void {
    this.changeRows(() => this.saveProfileMembers(members));
  }

  /**
   * Changes rows in one transaction together with the profile, and reports the profile to the account afterwards, if it has
   * changed. An earlier report could describe a change that is rolled back.
   *
   * @throws whatever `change` throws; then nothing has changed
   */
  changeRows<T>(change: () => T): T {
    const { transcript } = this.#object;
    this.#watchPendingReport();
    const result = transcript.runInTransaction(() => {
      const result = change();
      if (this.#isPausedStateOutdated) this.saveProfileMembers({});
      return result;
    });
    this.reportChangesInBackground();
    return result;
  }

  /** Stores members of the profile, and that the account does not know of them yet. Call it in `changeRows`. */
  saveProfileMembers(members: Partial<ConversationProfile>): void {
    const { transcript, now } = this.#object;
    const { storedProfile: profile } = transcript;
    if (!profile) return;
    const updatedAt = now();
    const version = Math.max(profile.version + 1, updatedAt);
    const paused = findConversationPauseReason(transcript);
    transcript.saveProfile({ ...profile, ...members, paused, version, updatedAt, unreported: true });
  }

  /** Has an alarm repeat a report that is on its way, in case the object dies before its confirmation. */
  #watchPendingReport(): void {
    this.#object.alarm.scheduleWatchAt(this.#object.now() + CONFIRM_RETRY_MS);
  }
}

/** @returns when the next notification of a plugin is due; undefined if there is none */
function findNextNotificationTime(transcript: Transcript): number | undefined {
  return transcript.findFirstFromPlugins(({ nextAt }) => nextAt);
}
