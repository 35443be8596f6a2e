/** What a conversation owes after a change: settlements, reports to its account, and letting go in time. */

import { type MeteredRequest, type RequestMeter, requestMeterOf } from '../accounts/admission/admission.ts';
import { DAY_MS } from '../async/durations.ts';
import { within } from '../async/timeout.ts';
import { callAccount } from '../durable/call-account.ts';
import type { Settled } from '../durable/contracts/settlement.ts';
import type { Settings } from '../settings/settings.ts';
import { releasePrefix } from './history/held-prefix.ts';
import type { HeldPrefix, Profile, TurnRow } from './storage/rows.ts';
import { RECENT } from './storage/tables.ts';
import type { Transcript } from './storage/transcript.ts';
import { conversationReportOf } from './turn/turn-ending.ts';
import { UNKNOWN_GRANT } from './turn/turn-runner.ts';

/** How long an ended turn can be resumed and attached to. */
export const GRACE_MS = 10 * 60_000;
/** What was not confirmed is repeated after so long. */
export const CONFIRM_AGAIN_MS = 15_000;
const CONFIRM_MS = 60_000;

/** The object that is kept. */
export interface Maintained {
  transcript: Transcript;
  storage: DurableObjectStorage;
  accounts: MeteredRequest['accounts'];
  settings(): Settings;
  now(): number;
  waitUntil(work: Promise<unknown>): void;
  /** Whether something goes on that must not be cleared away. */
  isBusy(): boolean;
  erase(): Promise<unknown>;
}

/** Nothing here is lost by a crash: what is not confirmed stands in the rows, and an alarm repeats it. */
export class Maintenance {
  readonly #kept: Maintained;
  #alarmAt: number | null = null;
  /** Turns whose settlement is on its way, and since when. */
  readonly #settling = new Map<number, number>();

  constructor(kept: Maintained) {
    this.#kept = kept;
  }

  /** The alarm is set for then, or has just come. */
  set alarmAt(time: number | null) {
    this.#alarmAt = time;
  }

  /** @returns what settles a turn, also one that another process has begun. */
  meterOf(row: TurnRow): Pick<RequestMeter, 'settle'> {
    const request = {
      requestId: row.grant?.requestId ?? row.requestId,
      model: row.model,
      identity: { account: this.#kept.transcript.profile?.account ?? '' },
      accounts: this.#kept.accounts,
      settings: this.#kept.settings(),
    };
    return requestMeterOf(request, row.grant ?? UNKNOWN_GRANT);
  }

  /**
   * Waits for the account's word that a turn is settled, and writes it down: an object that sleeps must not ask again when
   * it wakes. Without it the alarm repeats the settlement, which changes nothing.
   */
  async confirm(row: TurnRow, done: Promise<Settled>): Promise<void> {
    const { seq } = row;
    // A word that never comes is not waited for by a timer, but asked for again by the alarm.
    const since = this.#kept.now();
    this.#settling.set(seq, since);
    try {
      const settled = await done;
      if (this.#kept.transcript.profile) this.#kept.transcript.settleTurn(row);
      if (settled.outcome !== 'erased') this.#correct(row, settled.cost + (row.grant?.earlier ?? 0));
      if (row.status === 'failed') this.forgetFailed(row);
      const { profile } = this.#kept.transcript;
      if (settled.outcome === 'erased' && profile && !profile.deleted) await this.#kept.erase();
    } catch {
      this.wakeFor(this.#kept.now() + CONFIRM_AGAIN_MS);
    } finally {
      if (this.#settling.get(seq) === since) this.#settling.delete(seq);
    }
  }

  /** The account's figure is the one that counts: a turn of which nothing was known has cost its hold. */
  #correct({ seq, id, cost }: TurnRow, settled: number): void {
    const { transcript } = this.#kept;
    if (settled === cost) return;
    // Another confirmation may have been here before.
    const [stored] = transcript.turns('seq = ? and id = ?', seq, id);
    const { profile } = transcript;
    if (!stored || !profile) return;
    transcript.write('update turns set cost = ? where seq = ? and id = ?', settled, seq, id);
    transcript.save({ ...profile, cost: profile.cost + settled - stored.cost });
  }

  /** What never was a turn, and of which nothing has been shown, leaves no row. */
  forgetFailed({ seq, id }: TurnRow): void {
    const [stored] = this.#kept.transcript.turns("seq = ? and id = ? and status = 'failed' and settled = 1", seq, id);
    if (!stored) return;
    const [log] = this.#kept.transcript.read('select 1 from log where turn = ? limit 1', seq);
    if (!log) this.#kept.transcript.deleteTurn(seq);
  }

  /** Deletes what has expired, repeats what was not confirmed, and sets the next alarm. */
  async tidy(now: number): Promise<void> {
    this.letGo(now);
    await this.settlePending();
    if (!this.#kept.isBusy() && !this.#kept.transcript.profile?.exists) await this.clear();
    else this.wakeNext();
  }

  /** Repeats what was not confirmed. */
  async settlePending(): Promise<void> {
    for (const row of this.#kept.transcript.turns(`settled = 0 and status != 'running' and ${RECENT}`)) {
      const { profile } = this.#kept.transcript;
      if (!row.outcome || !profile) continue;
      if (this.#kept.now() - (this.#settling.get(row.seq) ?? 0) < CONFIRM_MS) continue;
      const named = row.status === 'stopped' || row.status === 'interrupted' ? { status: row.status } : {};
      const ms = (row.endedAt ?? row.beganAt) - row.beganAt;
      const { done } = this.meterOf(row).settle(row.outcome, {
        ...named,
        ms,
        conversation: conversationReportOf(profile),
      });
      await within(this.confirm(row, done), CONFIRM_MS).catch(() => this.wakeFor(this.#kept.now() + CONFIRM_AGAIN_MS));
    }
    await this.#report();
  }

  /** Tells the account what has changed by no turn. */
  async #report(): Promise<void> {
    const { profile } = this.#kept.transcript;
    if (!profile?.unreported) return;
    const { account } = profile;
    try {
      const request = { identity: { account }, accounts: this.#kept.accounts, settings: this.#kept.settings() };
      const { erased } = await within(
        callAccount(request, (object) => object.noteConversation(conversationReportOf(profile))),
        CONFIRM_MS,
      );
      const now = this.#kept.transcript.profile;
      if (now?.version === profile.version) this.#kept.transcript.save({ ...now, unreported: false });
      if (erased && !profile.deleted) await this.#kept.erase();
    } catch {
      this.wakeFor(this.#kept.now() + CONFIRM_AGAIN_MS);
    }
  }

  /** Lets everything go once there is nothing more to tell. */
  async clear(): Promise<void> {
    if (this.#kept.isBusy() || this.#kept.transcript.profile?.exists) return;
    this.letGo(this.#kept.now());
    await this.settlePending();
    const { profile } = this.#kept.transcript;
    if (this.#kept.isBusy() || !profile || profile.exists) return;
    if (
      profile.unreported ||
      this.#kept.transcript.turns('1').some(({ settled, status }) => !settled || status === 'running')
    ) {
      this.wakeFor(this.#kept.now() + CONFIRM_AGAIN_MS);
      return;
    }
    if (!profile.deleted && this.#kept.transcript.turns("status = 'failed'").length > 0) {
      // Somebody may still ask how a first turn has failed.
      this.wakeNext();
      return;
    }
    if (profile.prefix && !(await this.#release(profile.prefix))) {
      this.wakeFor(this.#kept.now() + CONFIRM_AGAIN_MS);
      return;
    }
    if (this.#kept.isBusy() || this.#kept.transcript.profile?.exists) return;
    // Nothing is waited for in between: rows without an alarm would stay for ever, and a turn that begins would be deleted.
    const gone = [this.#kept.storage.deleteAlarm(), this.#kept.storage.deleteAll()];
    this.#alarmAt = null;
    this.#kept.transcript.forget();
    await Promise.all(gone);
  }

  /** @returns whether the owner of a prefix knows that it need not keep it for this conversation any more */
  async #release(held: HeldPrefix): Promise<boolean> {
    try {
      const reader = { accounts: this.#kept.accounts, settings: this.#kept.settings() };
      await within(releasePrefix(reader, held), CONFIRM_MS);
      return true;
    } catch {
      return false;
    }
  }

  /** Lets go of logs that nobody can ask for any more. */
  letGo(now: number): void {
    const transcript = this.#kept.transcript;
    const ended = transcript.turns(
      `status != 'running' and ended_at <= ? and (status = 'failed' or seq in (select turn from log))`,
      now - GRACE_MS,
    );
    for (const row of ended) {
      transcript.log.delete(row.seq);
      if (row.status === 'failed' && row.settled) transcript.deleteTurn(row.seq);
    }
  }

  /** @returns whether a conversation has had its time. */
  isOver(profile: Profile, now: number): boolean {
    return profile.updatedAt + this.#retention(profile) <= now;
  }

  #retention({ retentionSeconds }: Profile): number {
    return retentionSeconds === null ? this.#kept.settings().RETENTION_DAYS * DAY_MS : retentionSeconds * 1_000;
  }

  /** Sets the alarm for what is due next. */
  wakeNext(): void {
    const { profile } = this.#kept.transcript;
    if (!profile) return;
    const [pending] = this.#kept.transcript.turns(`settled = 0 and ${RECENT}`);
    if (pending || profile.unreported) this.wakeFor(this.#kept.now() + CONFIRM_AGAIN_MS);
    const [kept] = this.#kept.transcript.read(
      "select min(ended_at) as at from turns where status = 'failed' or seq in (select turn from log)",
    );
    if (typeof kept?.at === 'number') this.wakeFor(kept.at + GRACE_MS);
    if (profile.exists) this.wakeFor(profile.updatedAt + this.#retention(profile));
  }

  /** Has the alarm come by then; an alarm that comes earlier finds out for itself what is next. */
  wakeFor(time: number): void {
    if (this.#alarmAt !== null && this.#alarmAt <= time) return;
    this.#alarmAt = time;
    void this.#kept.storage.setAlarm(time);
  }

  /** Changes the profile, and tells the account. */
  change(change: Partial<Profile>): void {
    const { profile } = this.#kept.transcript;
    if (!profile) return;
    const now = this.#kept.now();
    const version = Math.max(profile.version + 1, now);
    this.#kept.transcript.save({ ...profile, ...change, version, updatedAt: now, unreported: true });
    this.wakeFor(now + CONFIRM_AGAIN_MS);
    this.#kept.waitUntil(this.#report());
  }
}
