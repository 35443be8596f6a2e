/** Settles the turns of a conversation until the account has confirmed each one, also turns that began before a crash. */

import { waitWithTimeout } from '../../kit/async/timeout.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import type { BilledAttempt } from '../../money/admission/billed-attempt.ts';
import { BilledRequest } from '../../money/admission/billed-request.ts';
import type { SettlementResult } from '../../money/contracts/settlement.ts';
import { DamagedRow, findDamageInError } from '../history/storage/damaged-row.ts';
import type { StoredOutcome, TurnRow } from '../history/storage/rows.ts';
import {
  findTurnByNumber,
  listToolsWithConsumedResults,
  listTurnsOfRun,
  listUnsettledTurns,
} from '../history/storage/turn-queries.ts';
import { addConversationCost, createConversationReport } from '../turn/turn-ending.ts';
import { createAccountRequest, type ObjectContext } from './object-context.ts';

/** Milliseconds to wait for a confirmation of the account. */
export const CONFIRM_MS = 60_000;

/** When the alarm repeats an unconfirmed settlement, as `scheduleRetry` sets it. Milliseconds. */
const SETTLE_RETRY_MS = 15_000;

/** What settling turns needs from their object. */
export interface TurnSettlementDependencies extends ObjectContext {
  erase(): Promise<unknown>;
}

/**
 * The settlements of a run's steps that were sent and not confirmed. Once all are confirmed, the run's row is marked as
 * settled.
 */
interface UnconfirmedRunSettlements {
  openCount: number;
  /** When the last of them was sent; milliseconds since 1970. */
  sentAt: number;
  hasEnded: boolean;
  /** Whether every settlement that has come back was confirmed. Not known after a crash. */
  isSure: boolean;
}

/** Tracks which turns of a conversation are settled. Unconfirmed settlements are stored in the turns' rows. */
export class TurnSettlementTracker {
  readonly #object: TurnSettlementDependencies;
  readonly #scheduleRetry: () => void;
  readonly #reportConversation: () => void;
  readonly #onSettled: () => void;
  /** Turns whose settlement has been sent, and when; milliseconds since 1970. */
  readonly #inFlight = new Map<number, { row: TurnRow; sentAt: number }>();
  readonly #runs = new Map<number, UnconfirmedRunSettlements>();

  /**
   * @param scheduleRetry sets the alarm that repeats unconfirmed settlements
   * @param reportConversation reports the conversation to its account at once, and again by an alarm until that is confirmed
   * @param onSettled called when a turn needs nothing more than the alarm: its settlement is confirmed, or the alarm repeats it
   */
  constructor(
    object: TurnSettlementDependencies,
    callbacks: { scheduleRetry: () => void; reportConversation: () => void; onSettled: () => void },
  ) {
    this.#object = object;
    this.#scheduleRetry = callbacks.scheduleRetry;
    this.#reportConversation = callbacks.reportConversation;
    this.#onSettled = callbacks.onSettled;
  }

  /** Whether settlements are on their way for which only a watch wakes the object. */
  get hasUnconfirmedSettlements(): boolean {
    return this.#inFlight.size > 0 || this.#runs.size > 0;
  }

  /** Restores the latest attempt of a turn or a summary, to settle it, even if it began before a crash. */
  restoreAttempt(
    row: Pick<TurnRow, 'grant' | 'requestId' | 'model'>,
    count?: () => Promise<number | undefined>,
  ): Pick<BilledAttempt, 'settle'> {
    const account = this.#object.transcript.storedProfile?.account ?? '';
    const requestId = row.grant?.requestId ?? row.requestId;
    const request = { ...createAccountRequest(this.#object, { account }), requestId, model: row.model };
    return BilledRequest.restoreAttempt(request, row.grant, count);
  }

  /** Stores the confirmation of a settlement when it comes. @param settled undefined if nothing has to be settled */
  storeConfirmationLater(row: TurnRow, settled: Promise<SettlementResult> | undefined): void {
    if (settled !== undefined && isSettledWithRun(row))
      this.#object.waitUntil(this.#confirmStepSettlement(row, row.run, settled));
    else if (settled !== undefined) this.#object.waitUntil(this.waitForConfirmation(row, settled));
    else {
      this.deleteFailedTurn(row);
      if (row.run === null) this.#onSettled();
    }
  }

  /** Marks a run as settled as soon as all its steps are. Call it after the run's row stores that it has ended. */
  markRunEnded({ seq }: Pick<TurnRow, 'seq'>): void {
    for (const step of listTurnsOfRun(this.#object.transcript, seq)) this.deleteFailedTurn(step);
    this.#getOrCreateRunSettlements(seq).hasEnded = true;
    this.#settleRunIfConfirmed(seq);
  }

  /**
   * Records that a run continues after a crash. Its steps are settled again at its end, which has no effect if they were
   * settled.
   */
  markRunResumed({ seq }: Pick<TurnRow, 'seq'>): void {
    this.#getOrCreateRunSettlements(seq).isSure = false;
  }

  #getOrCreateRunSettlements(seq: number): UnconfirmedRunSettlements {
    return getOrCreate(this.#runs, seq, () => ({ openCount: 0, sentAt: 0, hasEnded: false, isSure: true }));
  }

  async #confirmStepSettlement(row: TurnRow, seq: number, done: Promise<SettlementResult>): Promise<void> {
    const run = this.#getOrCreateRunSettlements(seq);
    run.openCount += 1;
    run.sentAt = computeEarliestSettlementTime(row, this.#object.now());
    try {
      await this.#storeConfirmation(row, await done);
    } catch (thrown) {
      run.isSure = false;
      this.#recordSettlementFailure(row, thrown);
    }
    run.openCount -= 1;
    this.#settleRunIfConfirmed(seq);
  }

  #settleRunIfConfirmed(seq: number): void {
    const run = this.#runs.get(seq);
    if (!run?.hasEnded || run.openCount > 0) return;
    this.#runs.delete(seq);
    const { transcript } = this.#object;
    const row = transcript.storedProfile && findTurnByNumber(transcript, seq);
    if (row?.run !== seq) return;
    const retryLater = (thrown: unknown) => {
      this.#scheduleRetry();
      this.#recordSettlementFailure(row, thrown);
    };
    if (!run.isSure) {
      this.#scheduleRetry();
      this.#object.waitUntil(this.#repeatSettlement(row).catch(retryLater));
      return;
    }
    try {
      transcript.updateTurn(row, { settled: true });
    } catch (thrown) {
      // Storing failed, so the row still counts as unsettled. The alarm repeats the settlement, which has no effect on the
      // account a second time.
      retryLater(thrown);
      return;
    }
    this.#onSettled();
  }

  /**
   * Waits until the account confirms a settlement, and stores the confirmation. Without a confirmation the alarm repeats the
   * settlement. A repeated settlement changes nothing.
   */
  async waitForConfirmation(row: TurnRow, done: Promise<SettlementResult>): Promise<void> {
    const { now } = this.#object;
    const { seq } = row;
    // Wait without a timeout: if the confirmation takes too long, the alarm repeats the settlement.
    const settling = { row, sentAt: computeEarliestSettlementTime(row, now()) };
    this.#inFlight.set(seq, settling);
    try {
      await this.#storeConfirmation(row, await done, true);
      this.#object.retries.recordSuccess('settlement', row.id);
    } catch (thrown) {
      this.#scheduleRetry();
      this.#recordSettlementFailure(row, thrown);
    } finally {
      if (this.#inFlight.get(seq) === settling) this.#inFlight.delete(seq);
    }
    this.#onSettled();
  }

  /** @param marks whether to mark the row itself as settled. Steps are marked with their run */
  async #storeConfirmation(row: TurnRow, { outcome, cost }: SettlementResult, marks = false): Promise<void> {
    const { transcript, erase } = this.#object;
    let isCorrected = false;
    // Store all of these changes or none: if only some were stored, no later confirmation would complete the others.
    transcript.runInTransaction(() => {
      if (marks && !row.settled && transcript.storedProfile) transcript.updateTurn(row, { settled: true });
      if (outcome !== 'erased') isCorrected = this.#correctTurnCost(row, cost + (row.grant?.earlier ?? 0));
      if (row.status === 'failed') this.deleteFailedTurn(row);
    });
    if (isCorrected) this.#reportConversation();
    const { storedProfile: profile } = transcript;
    if (outcome === 'erased' && profile && !profile.deleted) await erase();
  }

  /**
   * Stores the account's cost, which is authoritative: a turn without known usage has cost its whole hold. Also stores the
   * usage of an answer that was read after its end.
   *
   * @returns whether the total has changed, and must be reported
   */
  #correctTurnCost({ seq, id, cost, outcome }: TurnRow, settled: number): boolean {
    const { transcript, now } = this.#object;
    const isReadOn = outcome?.read_until !== undefined;
    if (settled === cost && !isReadOn) return false;
    // Read the row again: another confirmation may have corrected the cost already.
    const stored = findTurnByNumber(transcript, seq);
    if (stored?.id !== id || !transcript.storedProfile) return false;
    if (settled !== stored.cost) this.#scheduleRetry();
    transcript.updateTurn(stored, { cost: settled, ...(isReadOn && { outcome }) });
    if (settled === stored.cost) return false;
    addConversationCost(transcript, settled - stored.cost, now(), { unreported: true });
    return true;
  }

  /** Deletes the row of a failed turn that is settled and has shown no event. Steps are kept until their run has ended. */
  deleteFailedTurn({ seq, id }: TurnRow): void {
    const { transcript } = this.#object;
    const stored = findTurnByNumber(transcript, seq);
    if (stored?.id !== id || stored.status !== 'failed' || !stored.settled) return;
    // Keep the steps of a running run: after a crash, their rows contain what the run has spent, and which attempt ids it has
    // used in the ledger.
    if (stored.run !== null && findTurnByNumber(transcript, stored.run)?.status === 'running') return;
    if (transcript.log.countRowsOfTurn(seq) === 0) transcript.deleteTurns('seq = ?', seq);
  }

  /** Repeats the settlements that were not confirmed. */
  async repeatUnconfirmedSettlements(): Promise<void> {
    const { transcript, now } = this.#object;
    for (const { seq, id } of listUnsettledTurns(transcript)) {
      // Read the row again: this turn may have been confirmed during the await for the turn before it.
      const row = findTurnByNumber(transcript, seq);
      if (row?.id !== id || row.settled || row.status === 'running') continue;
      const since = this.#runs.get(row.seq)?.sentAt ?? this.#inFlight.get(row.seq)?.sentAt ?? 0;
      if (now() - since < CONFIRM_MS) continue;
      await this.#repeatSettlement(row).catch((thrown: unknown) => {
        // The damaged outcome cannot be sent, so stop repeating this settlement. At the hold's deadline, the account books the
        // whole hold.
        if (findDamageInError(thrown)) return transcript.updateTurn(row, { settled: true });
        this.#scheduleRetry();
        this.#recordSettlementFailure(row, thrown);
      });
    }
  }

  #recordSettlementFailure({ id }: TurnRow, thrown: unknown): void {
    this.#object.retries.recordFailure('settlement', thrown, this.#object.now() + SETTLE_RETRY_MS, { subject: id });
  }

  async #repeatSettlement(row: TurnRow): Promise<void> {
    const { transcript } = this.#object;
    const isRun = row.run === row.seq;
    for (const { seq, id } of isRun ? listTurnsOfRun(transcript, row.seq).filter(isSettledWithRun) : [row]) {
      // Read the row again: a confirmation may have corrected the cost during the await for the previous step.
      const turn = findTurnByNumber(transcript, seq);
      const { storedProfile: profile } = transcript;
      if (turn?.id !== id || !profile) continue;
      if (!turn.outcome) throw new DamagedRow('the outcome of a turn');
      const { status } = turn;
      // Subtract the cost of earlier attempts: each was settled separately and has its own row in the ledger.
      const costOfAttempt = turn.cost - (turn.grant?.earlier ?? 0);
      const { done } = this.restoreAttempt(turn).settle(addLostTimeToOutcome(turn, turn.outcome, this.#object.now()), {
        ...(status === 'stopped' || status === 'interrupted' ? { status } : {}),
        ms: (turn.endedAt ?? turn.beganAt) - turn.beganAt,
        tools: status === 'failed' ? undefined : listToolsWithConsumedResults(transcript, turn),
        conversation: createConversationReport(profile, profile.cost - costOfAttempt),
      });
      if (isRun) {
        await this.#storeConfirmation(turn, await waitWithTimeout(done, CONFIRM_MS));
        this.#object.retries.recordSuccess('settlement', turn.id);
      } else await waitWithTimeout(this.waitForConfirmation(turn, done), CONFIRM_MS);
    }
    if (!isRun || !transcript.storedProfile) return;
    transcript.updateTurn(row, { settled: true });
    this.#object.retries.recordSuccess('settlement', row.id);
  }
}

/** @returns from when a settlement is on its way at the earliest; milliseconds since 1970 */
function computeEarliestSettlementTime({ outcome }: TurnRow, now: number): number {
  return Math.max(now, outcome?.read_until ?? now);
}

/**
 * @returns the outcome of a turn whose object may have died while its answer was read after its end: it may have continued
 *   until then
 */
export function addLostTimeToOutcome(
  { endedAt }: Pick<TurnRow, 'endedAt'>,
  outcome: StoredOutcome,
  now: number,
): StoredOutcome {
  const { read_until, seen, usage } = outcome;
  if (read_until === undefined || endedAt === null || !seen) return outcome;
  const ms = Math.max(0, Math.min(now, read_until) - endedAt);
  if (ms === 0) return outcome;
  const lost_ms = seen.lost_ms + ms;
  const more = usage ? { silent_ms: seen.silent_ms + ms } : { unseen_ms: seen.unseen_ms + ms };
  return { ...outcome, unwatched: true, seen: { ...seen, ...more, lost_ms, quiet_ms: seen.quiet_ms + ms } };
}

/** @returns whether the row of its run stores that a turn is settled. That is so for complete steps. */
function isSettledWithRun(row: TurnRow): row is TurnRow & { run: number } {
  return row.run !== null && row.run !== row.seq && row.status !== 'failed' && row.settled;
}
