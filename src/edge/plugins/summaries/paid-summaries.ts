/**
 * Pays for summaries: from its beginning until it is settled, the row of each summary stores what it costs if the object dies.
 */

import { createUnansweredOutcome, type RequestOutcome } from '../../claude/outcome.ts';
import type { ObjectContext } from '../../conversations/object/object-context.ts';
import { CONFIRM_MS, type TurnSettlementTracker } from '../../conversations/object/turn-settlements.ts';
import {
  addConversationCost,
  computeNextProfileVersion,
  createConversationReport,
} from '../../conversations/turn/turn-ending.ts';
import { createNextAttemptGrant } from '../../conversations/turn/turn-grants.ts';
import { waitWithTimeout } from '../../kit/async/timeout.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import type { BilledAttempt } from '../../money/admission/billed-attempt.ts';
import { getSummaryRows, type SummaryRow } from './summary-rows.ts';

/** The name of summaries in the ledger and the usage. */
export const OF_SUMMARIES = 'summary';
/** How often the alarm looks after one, and repeats a settlement; milliseconds. */
const SUMMARY_WATCH_MS = 15_000;
/** How much later than its wake an object that died may have lost its connection; milliseconds. */
const LATE_CUT_MS = 1_000;

/** Settles one; undefined where no hold was placed, so that nothing has to be settled. */
export type SettleableSummary = Pick<BilledAttempt, 'settle'> | undefined;

/** Settles the summaries of a conversation, also those that were being made before a crash. */
export class SummarySettler {
  readonly #object: ObjectContext;
  readonly #settlements: Pick<TurnSettlementTracker, 'restoreAttempt'>;
  #isMaking = false;

  constructor(object: ObjectContext, settlements: Pick<TurnSettlementTracker, 'restoreAttempt'>) {
    this.#object = object;
    this.#settlements = settlements;
  }

  /** Stores the row of a summary, and has it made. Never rejects: without it the turn is sent without its oldest messages. */
  async storeAndMakeSummary(row: SummaryRow, work: () => Promise<void>): Promise<void> {
    const { transcript, alarm, now } = this.#object;
    const { storedProfile: profile } = transcript;
    this.#isMaking = true;
    try {
      if (!profile) return;
      alarm.scheduleWatchAt(now() + SUMMARY_WATCH_MS);
      transcript.runInTransaction(() => getSummaryRows(transcript).insertSummary(row));
      await work();
    } catch (thrown) {
      logBackgroundFailure({ conversation: profile?.id ?? '', summary: String(row.id) }, thrown);
      // The summary may not be stored or settled, so set the alarm, which settles it.
      alarm.scheduleAt(now() + SUMMARY_WATCH_MS);
    } finally {
      this.#isMaking = false;
    }
  }

  /** Stores that the account is called for another attempt. */
  recordAdmissionAttempt(row: SummaryRow): void {
    this.#updateRow(row, { grant: createNextAttemptGrant(row, { startedAt: this.#object.now() }), sentAt: null });
  }

  /** Stores that an attempt is sent, before it is sent: from now on a crash would cost money. */
  recordSent(row: SummaryRow, { grant, requestId }: BilledAttempt): void {
    this.#updateRow(row, { grant: { ...grant, requestId }, sentAt: this.#object.now(), model: row.model });
  }

  /** Stores how a summary has ended, and settles it. @param change the changes of its row */
  async storeAndSettleSummary(
    row: SummaryRow,
    outcome: RequestOutcome,
    change: Partial<SummaryRow>,
    attempt: SettleableSummary,
  ): Promise<void> {
    const { transcript } = this.#object;
    if (!transcript.storedProfile) return;
    const summaries = getSummaryRows(transcript);
    // Re-check after the await: a rewind to before the end of the summarized messages makes the summary unusable.
    const status = summaries.get(row.id)?.status === 'running' ? change : { status: 'void' as const };
    this.#updateRow(row, { ...status, outcome, settled: attempt === undefined });
    if (attempt) await this.#settleSummary(row, outcome, attempt, 0);
  }

  /** Settles summaries that a crash has interrupted, and repeats unconfirmed settlements. */
  settleInterrupted(): void {
    if (this.#isMaking) return;
    const { transcript, now, waitUntil } = this.#object;
    for (const row of getSummaryRows(transcript).listUnsettledSummaries()) {
      const outcome = row.outcome ?? createUnansweredOutcome({ sentAt: row.sentAt ?? undefined }, now() + LATE_CUT_MS);
      const attempt = this.#settlements.restoreAttempt(row);
      if (row.status === 'running') waitUntil(this.storeAndSettleSummary(row, outcome, { status: 'failed' }, attempt));
      else waitUntil(this.#settleSummary(row, outcome, attempt, row.cost));
    }
  }

  #updateRow(row: SummaryRow, change: Partial<SummaryRow>): void {
    getSummaryRows(this.#object.transcript).updateSummary(row.id, change);
    Object.assign(row, change);
  }

  /** @param cost the part of its cost that the profile has already */
  async #settleSummary(
    row: SummaryRow,
    outcome: RequestOutcome,
    attempt: Pick<BilledAttempt, 'settle'>,
    cost: number,
  ): Promise<void> {
    const { transcript, alarm, now, retries } = this.#object;
    const { storedProfile: profile } = transcript;
    if (!profile) return;
    const summaries = getSummaryRows(transcript);
    const { nanodollars, done } = attempt.settle(outcome, {
      admittedFields: { route: OF_SUMMARIES, model: row.model, conversation: profile.id },
      startedAt: row.beganAt,
      ms: now() - row.beganAt,
      // Use a newer version, so that a turn's report that was sent earlier and arrives later cannot overwrite this one.
      conversation: createConversationReport(
        { ...profile, version: computeNextProfileVersion(profile, now()) },
        profile.cost - cost,
      ),
    });
    this.#addCostToConversation(row.id, cost, nanodollars);
    try {
      const settled = await waitWithTimeout(done, CONFIRM_MS);
      if (!transcript.storedProfile) return;
      if (settled.outcome !== 'erased')
        this.#addCostToConversation(row.id, summaries.get(row.id)?.cost ?? 0, settled.cost);
      summaries.updateSummary(row.id, { settled: true });
      retries.recordSuccess('settlement', row.requestId);
    } catch (thrown) {
      const nextAt = now() + SUMMARY_WATCH_MS;
      alarm.scheduleAt(nextAt);
      retries.recordFailure('settlement', thrown, nextAt, { subject: row.requestId });
    }
  }

  /** Adds its cost to the conversation's. */
  #addCostToConversation(id: number, before: number, cost: number): void {
    const { transcript, now } = this.#object;
    if (!transcript.storedProfile || !Number.isFinite(cost) || cost === before) return;
    getSummaryRows(transcript).updateSummary(id, { cost });
    addConversationCost(transcript, cost - before, now());
  }
}
