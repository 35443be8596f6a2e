/** Settles the turns of a conversation, also those that began before a crash, until the account has confirmed it. */

import type { RequestMeter } from '../accounts/admission/metered-request.ts';
import { requestMeterOf } from '../accounts/admission/request-meter.ts';
import { within } from '../async/timeout.ts';
import type { Settled } from '../durable/contracts/settlement.ts';
import { accountRequestOf, type ObjectContext } from './object-context.ts';
import type { TurnRow } from './storage/rows.ts';
import { turnAt, unsettledTurns } from './storage/turn-queries.ts';
import { conversationReportOf } from './turn/turn-ending.ts';
import { UNKNOWN_GRANT } from './turn/turn-runner.ts';

/** How long a confirmation is waited for. */
export const CONFIRM_MS = 60_000;

/** What settling turns needs of their object. */
export interface SettlingObject extends ObjectContext {
  erase(): Promise<unknown>;
}

/** Keeps what is settled of a conversation's turns. What is not confirmed is in their rows. */
export class TurnSettlements {
  readonly #object: SettlingObject;
  readonly #wake: () => void;
  /** Turns whose settlement has been sent, and when; milliseconds since 1970. */
  readonly #settling = new Map<number, number>();

  /** @param wake sets the alarm that repeats what was not confirmed */
  constructor(object: SettlingObject, wake: () => void) {
    this.#object = object;
    this.#wake = wake;
  }

  /** @returns what settles a turn, even one that began before a crash. */
  meterOf(row: TurnRow): Pick<RequestMeter, 'settle'> {
    const account = this.#object.transcript.profile?.account ?? '';
    const requestId = row.grant?.requestId ?? row.requestId;
    return requestMeterOf(
      { ...accountRequestOf(this.#object, { account }), requestId, model: row.model },
      row.grant ?? UNKNOWN_GRANT,
    );
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
      this.#wake();
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

  /** Repeats the settlements that were not confirmed. */
  async settlePending(): Promise<void> {
    const { transcript } = this.#object;
    for (const row of unsettledTurns(transcript)) {
      const { outcome, status } = row;
      const { profile } = transcript;
      if (status === 'running' || !outcome || !profile) continue;
      if (this.#object.now() - (this.#settling.get(row.seq) ?? 0) < CONFIRM_MS) continue;
      const { done } = this.meterOf(row).settle(outcome, {
        ...(status === 'stopped' || status === 'interrupted' ? { status } : {}),
        ms: (row.endedAt ?? row.beganAt) - row.beganAt,
        conversation: conversationReportOf(profile),
      });
      await within(this.confirm(row, done), CONFIRM_MS).catch(() => this.#wake());
    }
  }
}
