/** Settles the turns of a conversation, also those that began before a crash, until the account has confirmed it. */

import type { RequestMeter } from '../accounts/admission/metered-request.ts';
import { requestMeterOf } from '../accounts/admission/request-meter.ts';
import { UNKNOWN_GRANT } from '../accounts/admission/settle.ts';
import { within } from '../async/timeout.ts';
import { getOrMake } from '../cache/get-or-make.ts';
import type { Settled } from '../durable/contracts/settlement.ts';
import { accountRequestOf, type ObjectContext } from './object-context.ts';
import type { TurnRow } from './storage/rows.ts';
import { toolsTakenUp, turnAt, turnsOfRun, unsettledTurns } from './storage/turn-queries.ts';
import { conversationReportOf } from './turn/turn-ending.ts';

/** How long a confirmation is waited for. */
export const CONFIRM_MS = 60_000;

/** What settling turns needs of their object. */
export interface SettlingObject extends ObjectContext {
  erase(): Promise<unknown>;
}

/** The settlements of a run's steps that are on their way. Once all are confirmed, one row says so. */
interface RunSettlements {
  open: number;
  /** When the last of them went; milliseconds since 1970. */
  since: number;
  hasEnded: boolean;
  /** Whether all that have come back are confirmed. After a crash that is not known. */
  isSure: boolean;
}

/** Keeps what is settled of a conversation's turns. What is not confirmed is in their rows. */
export class TurnSettlements {
  readonly #object: SettlingObject;
  readonly #wake: () => void;
  /** Turns whose settlement has been sent, and when; milliseconds since 1970. */
  readonly #settling = new Map<number, number>();
  readonly #runs = new Map<number, RunSettlements>();

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

  /** Follows up the settlement of a turn that has ended; undefined where nothing is to be settled. */
  follow(row: TurnRow, settled: Promise<Settled> | undefined): void {
    if (settled !== undefined && isUnderRun(row)) this.#object.waitUntil(this.#confirmStep(row, row.run, settled));
    else if (settled !== undefined) this.#object.waitUntil(this.confirm(row, settled));
    else this.forgetFailed(row);
  }

  /** Marks a run as settled as soon as all its steps are; its row must say that it has ended. */
  endRun({ seq }: Pick<TurnRow, 'seq'>): void {
    for (const step of turnsOfRun(this.#object.transcript, seq)) this.forgetFailed(step);
    this.#runOf(seq).hasEnded = true;
    this.#settleRun(seq);
  }

  /** Notes that a run goes on after a crash: its steps are settled once more at its end, which changes nothing. */
  resumeRun({ seq }: Pick<TurnRow, 'seq'>): void {
    this.#runOf(seq).isSure = false;
  }

  #runOf(seq: number): RunSettlements {
    return getOrMake(this.#runs, seq, () => ({ open: 0, since: 0, hasEnded: false, isSure: true }));
  }

  async #confirmStep(row: TurnRow, seq: number, done: Promise<Settled>): Promise<void> {
    const run = this.#runOf(seq);
    run.open += 1;
    run.since = this.#object.now();
    try {
      await this.#noteSettled(row, await done);
    } catch {
      run.isSure = false;
    }
    run.open -= 1;
    this.#settleRun(seq);
  }

  #settleRun(seq: number): void {
    const run = this.#runs.get(seq);
    if (!run?.hasEnded || run.open > 0) return;
    this.#runs.delete(seq);
    const { transcript } = this.#object;
    const row = transcript.profile && turnAt(transcript, seq);
    if (row?.run !== seq) return;
    if (run.isSure) transcript.changeTurn(row, { settled: true });
    else this.#object.waitUntil(this.#settleAgain(row).catch(() => this.#wake()));
  }

  /**
   * Waits until the account confirms a settlement, and stores that, so that it need not be repeated. Without a
   * confirmation the alarm repeats the settlement; a repeated settlement changes nothing.
   */
  async confirm(row: TurnRow, done: Promise<Settled>): Promise<void> {
    const { transcript, now } = this.#object;
    const { seq } = row;
    // No timer ends this wait: the alarm repeats what takes too long.
    const since = now();
    this.#settling.set(seq, since);
    try {
      const settled = await done;
      if (transcript.profile) transcript.changeTurn(row, { settled: true });
      await this.#noteSettled(row, settled);
    } catch {
      this.#wake();
    } finally {
      if (this.#settling.get(seq) === since) this.#settling.delete(seq);
    }
  }

  async #noteSettled(row: TurnRow, { outcome, cost }: Settled): Promise<void> {
    const { transcript, erase } = this.#object;
    if (outcome !== 'erased') this.#correctCost(row, cost + (row.grant?.earlier ?? 0));
    if (row.status === 'failed') this.forgetFailed(row);
    const { profile } = transcript;
    if (outcome === 'erased' && profile && !profile.deleted) await erase();
  }

  /** Stores the account's figure, which is the one that counts: a turn without a known usage has cost its hold. */
  #correctCost({ seq, id, cost }: TurnRow, settled: number): void {
    const { transcript, now } = this.#object;
    if (settled === cost) return;
    // Another confirmation may have corrected it already.
    const stored = turnAt(transcript, seq);
    const { profile } = transcript;
    if (stored?.id !== id || !profile) return;
    transcript.changeTurn(stored, { cost: settled });
    // A report that is on its way with the cost before must not replace this one.
    const version = Math.max(profile.version + 1, now());
    transcript.save({ ...profile, version, cost: profile.cost + settled - stored.cost, unreported: true });
    this.#wake();
  }

  /** Deletes the row of a failed turn that is settled and has shown no event; of a run's steps, once the run has ended. */
  forgetFailed({ seq, id }: TurnRow): void {
    const { transcript } = this.#object;
    const stored = turnAt(transcript, seq);
    if (stored?.id !== id || stored.status !== 'failed' || !stored.settled) return;
    // After a crash the rows of its steps say what a run has spent, and which names in the ledger are taken.
    if (stored.run !== null && turnAt(transcript, stored.run)?.status === 'running') return;
    if (transcript.log.count(seq) === 0) transcript.deleteTurn(seq);
  }

  /** Repeats the settlements that were not confirmed. */
  async settlePending(): Promise<void> {
    const { transcript } = this.#object;
    for (const { seq, id } of unsettledTurns(transcript)) {
      // While the one before was waited for, this one may have been confirmed.
      const row = turnAt(transcript, seq);
      if (row?.id !== id || row.settled || row.status === 'running') continue;
      const since = this.#runs.get(row.seq)?.since ?? this.#settling.get(row.seq) ?? 0;
      if (this.#object.now() - since < CONFIRM_MS) continue;
      await this.#settleAgain(row).catch(() => this.#wake());
    }
  }

  async #settleAgain(row: TurnRow): Promise<void> {
    const { transcript } = this.#object;
    const isRun = row.run === row.seq;
    for (const { seq, id } of isRun ? turnsOfRun(transcript, row.seq).filter(isUnderRun) : [row]) {
      // Its cost may have been corrected while the one before was waited for.
      const turn = turnAt(transcript, seq);
      const { profile } = transcript;
      if (turn?.id !== id || !turn.outcome || !profile) continue;
      const { outcome, status } = turn;
      const { done } = this.meterOf(turn).settle(outcome, {
        ...(status === 'stopped' || status === 'interrupted' ? { status } : {}),
        ms: (turn.endedAt ?? turn.beganAt) - turn.beganAt,
        tools: status === 'failed' ? undefined : toolsTakenUp(transcript, turn),
        // Tries before the one that is settled are booked by themselves.
        conversation: conversationReportOf(profile, turn.cost - (turn.grant?.earlier ?? 0)),
      });
      if (isRun) await this.#noteSettled(turn, await within(done, CONFIRM_MS));
      else await within(this.confirm(turn, done), CONFIRM_MS);
    }
    if (isRun && transcript.profile) transcript.changeTurn(row, { settled: true });
  }
}

/** @returns whether the row of its run says whether a turn is settled. */
function isUnderRun(row: TurnRow): row is TurnRow & { run: number } {
  return row.run !== null && row.run !== row.seq && row.status === 'complete' && row.settled;
}
