import { UpstreamDurableObject } from '../../claude/upstream-object.ts';
import { SETTINGS_RETRY_MS } from '../../config/retention.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import type * as z from '../../kit/http/zod.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import { BatchJournalStore, FAILED_MS } from './batch-record.ts';
import type { batchEnded } from './batches-answers.schema.ts';
import type { BatchCreateOutcome, BatchObject, BatchState, InitialBatchData } from './contracts/batch.ts';
import { deliverBatchEndEvent } from './deliver-end.ts';
import { computeForgetTime, computeTaskDueTime, runDuePendingTasks } from './finish-tasks.ts';
import { isBatchOpen, type Journal, toMessageBatch } from './journal.ts';
import { pollBatch } from './poll-batch.ts';
import { computeNextListingTime, isBatchListedAtUpstream, resolveUnknownBatch } from './unknown-batch.ts';

/**
 * The most milliseconds between the journal and the last byte, with one call of the account. After that the maker has died.
 */
const PREPARED_MS = 5 * MINUTE_MS;
/** Creates usually take less time. If the response takes longer, the upstream's list is read. Milliseconds. */
const CREATE_MS = MINUTE_MS;
/** How much longer than the upstream may take its answer to a create may take to arrive here. Milliseconds. */
const ANSWER_MS = 30_000;
/** Polls: a tenth of the batch's age, within these bounds. */
const LEAST_POLL_MS = 5_000;
const MOST_POLL_MS = 5 * MINUTE_MS;
/** A request for the state polls the upstream, unless the batch was polled less than this time ago. Milliseconds. */
const ASKED_POLL_MS = 2_000;

type BatchEndedEvent = z.output<typeof batchEnded>;

/**
 * The object of one batch. It stores the batch's journal, from before the last byte is sent until the batch is settled. After
 * any crash, the alarm continues from the journal.
 *
 * @example export { Batch } from 'sluice';
 */
export class Batch extends UpstreamDurableObject implements BatchObject {
  readonly #record: BatchJournalStore;
  #polledAt = 0;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#record = new BatchJournalStore(ctx.storage, this.services);
  }

  storeOpening(opening: InitialBatchData): void {
    if (this.#journal) return;
    this.#record.scheduleAlarmIn(PREPARED_MS);
    this.#record.storeFirstJournal({ ...opening, phase: 'prepared', owes: [], createdAt: this.now() });
  }

  recordLastByteSent(): boolean {
    if (this.#journal?.phase === 'prepared') {
      this.#record.enterPhase('closing', { closingAt: this.now() });
      this.#scheduleNextAlarm();
    }
    // Return true on a repeated call, too: only the sender of the last byte calls this method, and calls it again if the
    // response was lost.
    return this.#journal?.phase === 'closing';
  }

  async acceptCreateResponse(answer: BatchCreateOutcome): Promise<BatchState> {
    const journal = this.#journal;
    if (journal && isAwaitingCreateResponse(journal)) {
      if (answer.kind === 'made') {
        const { id: upstreamId, expiresAt } = answer;
        this.#record.enterPhase('running', { upstreamId, expiresAt });
      } else if (answer.kind === 'refused') this.#storeRejection(answer);
      else if (journal.phase === 'closing') this.#record.enterPhase('unknown');
      this.#record.scheduleAlarmIn(this.#journal?.phase === 'running' ? LEAST_POLL_MS : FAILED_MS);
      if (answer.kind === 'doubtful') await this.#record.tryTask('batch', () => this.#resolveDoubtfulCreate(answer));
      await runDuePendingTasks(this.#record);
    }
    return this.#record.batchState;
  }

  async giveUpUnsentBatch(isHeld: boolean): Promise<boolean> {
    const journal = this.#journal;
    // Nothing to do: the batch may have given up by itself and released its hold already.
    if (!journal || journal.phase === 'unsent') return false;
    if (!(journal.phase === 'prepared' || isAwaitingCreateResponse(journal))) return true;
    this.#record.scheduleAlarmIn(0);
    this.#record.enterPhase('unsent', {}, isHeld ? undefined : []);
    await runDuePendingTasks(this.#record);
    return true;
  }

  readBatchState(): BatchState {
    if (this.#journal?.phase === 'running' && this.now() - this.#polledAt > ASKED_POLL_MS)
      this.#record.scheduleAlarmIn(0);
    return this.#record.batchState;
  }

  async cancelBatch(): Promise<BatchState> {
    const journal = this.#journal;
    const mayRun = journal && !journal.isErased && (isBatchOpen(journal) || journal.phase === 'prepared');
    if (mayRun && journal.cancelAt === undefined) {
      this.#record.scheduleAlarmIn(FAILED_MS);
      this.#record.addPendingTasks(isBatchOpen(journal) ? ['cancel', 'report'] : ['cancel'], { cancelAt: this.now() });
      await runDuePendingTasks(this.#record);
    }
    return this.#record.batchState;
  }

  async deleteBatch(): Promise<'removed' | 'running' | 'none'> {
    const journal = this.#journal;
    if (this.#record.batchState.kind !== 'known' || !journal) return 'none';
    if (journal.phase !== 'ended') return 'running';
    this.#record.scheduleAlarmIn(FAILED_MS);
    this.#record.addPendingTasks([], { isErased: true });
    // The caller sees the batch as deleted from now on. If one of these tasks fails, the alarm retries it.
    await runDuePendingTasks(this.#record);
    return 'removed';
  }

  async erase(): Promise<void> {
    const journal = this.#journal;
    if (!journal || journal.isErased) return;
    const isCancelled = isBatchOpen(journal) && journal.cancelAt === undefined;
    this.#record.scheduleAlarmIn(0);
    this.#record.addPendingTasks(isCancelled ? ['cancel'] : [], {
      isErased: true,
      ...(isCancelled && { cancelAt: this.now() }),
    });
    // The last byte of the request was not sent, and will not be sent any more. So no batch exists at the upstream, and nothing
    // has to be cancelled there.
    if (journal.phase === 'prepared') this.#record.enterPhase('unsent');
  }

  /** Does the work that is due. It never throws, and sets the alarm again while anything is open. */
  override async alarm(): Promise<void> {
    this.services.alarm.markFired();
    await this.#record.tryTask(
      'batch',
      () => this.#advancePhase(),
      () => this.#computePhaseDueTime(),
    );
    await this.#record.tryTask('delivery', () => this.#deliverBatchEndedEvent());
    await runDuePendingTasks(this.#record);
    this.#scheduleNextAlarm();
  }

  get #journal(): Journal | undefined {
    return this.#record.currentJournal;
  }

  async #advancePhase(): Promise<void> {
    const journal = this.#journal;
    switch (journal?.phase) {
      case 'prepared':
        if (this.now() >= journal.createdAt + PREPARED_MS) this.#record.enterPhase('unsent');
        return;
      case 'closing':
        if (!(await this.#isResponseProbablyLost(journal)) || this.#journal?.phase !== 'closing') return;
        this.#record.enterPhase('unknown');
        return this.#record.scheduleAlarmIn(0);
      case 'unknown':
        await resolveUnknownBatch(this.#record, journal);
        break;
      case 'running':
        this.#polledAt = this.now();
        // Wait for the next attempt: reading the results has failed before.
        if (journal.rereading && this.now() < journal.rereading.nextAt) return;
        await pollBatch(this.#record, journal);
        break;
      default:
        return;
    }
    this.#record.recordSuccess('batch');
  }

  async #deliverBatchEndedEvent(): Promise<void> {
    const journal = this.#journal;
    if (!journal || journal.isErased) return;
    await deliverBatchEndEvent<BatchEndedEvent>(this.#record, 'batch.ended', () => ({
      batch: toMessageBatch(journal, this.now()),
    }));
  }

  /** Reads the upstream's list of batches after a failure that leaves open whether the batch was created. */
  async #resolveDoubtfulCreate(answer: Extract<BatchCreateOutcome, { kind: 'doubtful' }>): Promise<void> {
    const journal = this.#journal;
    if (journal?.phase !== 'unknown') return;
    if ((await isBatchListedAtUpstream(this.#record, journal)) === false && this.#journal?.phase === 'unknown')
      this.#storeRejection(answer);
  }

  #storeRejection({ kind: _, ...refusal }: Extract<BatchCreateOutcome, { kind: 'refused' | 'doubtful' }>): void {
    this.#record.enterPhase('refused', { refusal, endedAt: this.now() });
  }

  #scheduleNextAlarm(): void {
    const journal = this.#journal;
    if (!journal) return;
    const { alarm } = this.services;
    const soon = this.now() + FAILED_MS;
    for (const debt of journal.owes) {
      const at = computeTaskDueTime(debt, journal);
      if (Number.isFinite(at)) alarm.scheduleAt(Math.max(soon, at));
    }
    alarm.scheduleAt(this.#computePhaseDueTime(journal));
  }

  /** Computes when the work of the current phase is due. @returns milliseconds since 1970 */
  #computePhaseDueTime(journal = this.#journal): number {
    try {
      if (journal) return this.#computeNextPhaseWorkTime(journal, this.now() + FAILED_MS);
    } catch {
      // Ignore unreadable settings, which are reported elsewhere. The alarm tries again later.
    }
    return this.now() + SETTINGS_RETRY_MS;
  }

  /** @returns as `#computePhaseDueTime` @throws ApiError for unreadable settings */
  #computeNextPhaseWorkTime(journal: Journal, soon: number): number {
    const { phase, createdAt, closingAt = createdAt, delivery, rereading, isErased } = journal;
    const now = this.now();
    switch (phase) {
      case 'prepared':
        return createdAt + PREPARED_MS;
      case 'closing':
        return Math.min(
          (now < closingAt + CREATE_MS ? closingAt : now) + CREATE_MS,
          this.#computeResponseDeadline(journal),
        );
      case 'unknown':
        return computeNextListingTime(journal, now);
      case 'running':
        return Math.max(
          now + Math.min(MOST_POLL_MS, Math.max(LEAST_POLL_MS, (now - closingAt) / 10)),
          rereading?.nextAt ?? 0,
        );
      default:
        return delivery && !isErased ? delivery.nextAt : Math.max(soon, computeForgetTime(this.#record, journal));
    }
  }

  /**
   * Decides whether the Worker that was waiting for the response to the create has probably died. The batch may still be made, and a
   * late response is still accepted.
   *
   * @throws BatchCallFailedError if the upstream's list cannot be read
   */
  async #isResponseProbablyLost(journal: Journal): Promise<boolean> {
    const { createdAt, closingAt = createdAt } = journal;
    if (this.now() >= this.#computeResponseDeadline(journal)) return true;
    if (this.now() < closingAt + CREATE_MS) return false;
    return (await isBatchListedAtUpstream(this.#record, journal)) !== undefined;
  }

  /** @returns when the upstream's response is no longer expected. @throws ApiError for unreadable settings */
  #computeResponseDeadline({ createdAt, closingAt = createdAt }: Journal): number {
    return closingAt + this.settings().UPSTREAM_TIMEOUT_MS + ANSWER_MS;
  }
}

/** @returns whether the upstream's answer to the create may still come. */
function isAwaitingCreateResponse({ phase }: Journal): boolean {
  return phase === 'closing' || phase === 'unknown';
}
