import { UNREADABLE_MS } from '../../gate/settings/retention.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import { deliverEnd } from '../../kit/delivery/deliver-event.ts';
import type * as z from '../../kit/http/zod.ts';
import type { Bindings } from '../../kit/objects/bindings.ts';
import { EdgeObject } from '../../kit/objects/edge-object.ts';
import { BatchRecord } from './batch-record.ts';
import type { batchEnded } from './batches-answers.schema.ts';
import type { BatchObject, BatchOpening, BatchState, CreateAnswer } from './contracts/batch.ts';
import { batchOf, isOpen, type Journal } from './journal.ts';
import { pollBatch, tellCancel } from './poll-batch.ts';
import { keptUntil, REFUSAL_MS, tidyBatch } from './tidy-batch.ts';
import { decideUnknown, isListed, listedNextAt } from './unknown-batch.ts';

/**
 * The most milliseconds between the journal and the last byte, with one call of the account. After that the maker has died.
 */
const PREPARED_MS = 5 * MINUTE_MS;
/** How much longer than the upstream may take its answer to a create may take to arrive here. Milliseconds. */
const ANSWER_MS = 30_000;
/** Polls: a tenth of the batch's age, within these bounds. */
const LEAST_POLL_MS = 5_000;
const MOST_POLL_MS = 5 * MINUTE_MS;
/** A request for the state asks the upstream, unless that was done less than this time ago. Milliseconds. */
const ASKED_POLL_MS = 2_000;
/** Milliseconds to pause after a failure without `retry-after`. */
const FAILED_MS = 30_000;

type BatchEnded = z.output<typeof batchEnded>;

/**
 * The object of one batch. It keeps the batch's journal, from before the bytes that make it a batch to its settlement. After
 * any crash the alarm goes on from the journal.
 *
 * @example export { Batch } from 'sluice';
 */
export class Batch extends EdgeObject implements BatchObject {
  readonly #record: BatchRecord;
  #polledAt = 0;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#record = new BatchRecord(ctx.storage, this.around);
  }

  prepare(opening: BatchOpening): void {
    if (this.#journal) return;
    this.#record.begin({ ...opening, phase: 'prepared', createdAt: this.now() });
    this.#record.wakeIn(PREPARED_MS);
  }

  closing(): boolean {
    if (this.#journal?.phase === 'prepared') {
      this.#record.change({ phase: 'closing', closingAt: this.now(), isReported: false });
      this.#wakeForNext();
    }
    // A repeated call gets the same yes. Only the sender of the last byte asks, and asks again if the answer was lost.
    return this.#journal?.phase === 'closing';
  }

  async answered(answer: CreateAnswer): Promise<BatchState> {
    const journal = this.#journal;
    if (journal && isUnanswered(journal)) {
      if (answer.kind === 'made') {
        const { id: upstreamId, expiresAt } = answer;
        this.#record.change({ phase: 'running', upstreamId, expiresAt, isReported: false });
      } else if (answer.kind === 'refused') this.#refuse(answer);
      else if (journal.phase === 'closing') this.#becomeUnknown();
      this.#record.wakeIn(this.#journal?.phase === 'running' ? LEAST_POLL_MS : FAILED_MS);
      if (answer.kind === 'doubtful') await this.#record.try(() => this.#decideDoubtful(answer));
      await tellCancel(this.#record);
      await this.#record.try(() => tidyBatch(this.#record));
    }
    return this.#record.state;
  }

  async drop(isHeld: boolean): Promise<void> {
    const journal = this.#journal;
    if (!journal || !(journal.phase === 'prepared' || isUnanswered(journal))) return;
    this.#record.change({ phase: 'unsent', isReleased: !isHeld });
    this.#record.wakeIn(0);
    await this.#record.try(() => tidyBatch(this.#record));
  }

  read(): BatchState {
    if (this.#journal?.phase === 'running' && this.now() - this.#polledAt > ASKED_POLL_MS) this.#record.wakeIn(0);
    return this.#record.state;
  }

  async cancel(): Promise<BatchState> {
    const journal = this.#journal;
    const mayRun = journal && !journal.isErased && (isOpen(journal) || journal.phase === 'prepared');
    if (mayRun && journal.cancelAt === undefined) {
      this.#record.change({ cancelAt: this.now(), isReported: false });
      this.#record.wakeIn(FAILED_MS);
      await tellCancel(this.#record);
      await this.#record.try(() => tidyBatch(this.#record));
    }
    return this.#record.state;
  }

  async remove(): Promise<'removed' | 'running' | 'none'> {
    const journal = this.#journal;
    if (this.#record.state.kind !== 'known' || !journal) return 'none';
    if (journal.phase !== 'ended') return 'running';
    this.#record.change({ isErased: true, isReported: true });
    this.#record.wakeIn(FAILED_MS);
    // For the caller it is deleted now. If something fails, the alarm does it later.
    await this.#record.try(() => tidyBatch(this.#record));
    return 'removed';
  }

  async erase(): Promise<void> {
    const journal = this.#journal;
    if (!journal || journal.isErased) return;
    this.#record.change({ isErased: true, isReported: true });
    if (isOpen(journal) && journal.cancelAt === undefined) this.#record.change({ cancelAt: this.now() });
    // Its last byte will not be sent any more.
    if (journal.phase === 'prepared') this.#record.change({ phase: 'unsent' });
    this.#record.wakeIn(0);
  }

  /** Does the work that is due. It never throws, and sets the alarm again while anything is open. */
  override async alarm(): Promise<void> {
    this.around.alarm.fired();
    await this.#record.try(() => this.#work());
    await this.#record.try(() => this.#deliverEnd());
    await this.#record.try(() => tidyBatch(this.#record));
    this.#wakeForNext();
  }

  get #journal(): Journal | undefined {
    return this.#record.journal;
  }

  async #work(): Promise<void> {
    const journal = this.#journal;
    switch (journal?.phase) {
      case 'prepared':
        if (this.now() >= journal.createdAt + PREPARED_MS) this.#record.change({ phase: 'unsent' });
        return;
      case 'closing':
        if (this.now() < this.#answeredBy(journal)) return;
        this.#becomeUnknown();
        return this.#record.wakeIn(0);
      case 'unknown':
        return await decideUnknown(this.#record, journal);
      case 'running':
        this.#polledAt = this.now();
        await tellCancel(this.#record);
        return await pollBatch(this.#record, journal);
      default:
        return;
    }
  }

  async #deliverEnd(): Promise<void> {
    const journal = this.#journal;
    if (!journal || journal.isErased) return;
    await deliverEnd<BatchEnded>(this.#record, 'batch.ended', () => ({ batch: batchOf(journal, this.now()) }));
  }

  #becomeUnknown(): void {
    this.#record.change({ phase: 'unknown', isReported: false });
  }

  /** Reads the upstream's list after a failure that does not say whether the batch was made. */
  async #decideDoubtful(answer: Extract<CreateAnswer, { kind: 'doubtful' }>): Promise<void> {
    const journal = this.#journal;
    if (journal?.phase !== 'unknown') return;
    if ((await isListed(this.#record, journal)) === false && this.#journal?.phase === 'unknown') this.#refuse(answer);
  }

  #refuse({ kind: _, ...refusal }: Extract<CreateAnswer, { kind: 'refused' | 'doubtful' }>): void {
    this.#record.change({ phase: 'refused', refusal, endedAt: this.now() });
  }

  #wakeForNext(): void {
    const journal = this.#journal;
    if (!journal) return;
    const now = this.now();
    const { phase, createdAt, closingAt = createdAt, endedAt = createdAt, delivery } = journal;
    if (isUntidy(journal)) this.#record.wakeIn(FAILED_MS);
    if (phase === 'prepared') this.around.alarm.wakeFor(createdAt + PREPARED_MS);
    else if (phase === 'refused') this.around.alarm.wakeFor(endedAt + REFUSAL_MS);
    else if (phase === 'ended')
      this.around.alarm.wakeFor(delivery?.nextAt ?? this.#orLater(() => keptUntil(this.#record, journal)));
    else if (phase === 'closing') this.around.alarm.wakeFor(this.#orLater(() => this.#answeredBy(journal)));
    else if (phase === 'unknown') this.around.alarm.wakeFor(listedNextAt(journal, now));
    else {
      const poll = Math.min(MOST_POLL_MS, Math.max(LEAST_POLL_MS, (now - closingAt) / 10));
      this.around.alarm.wakeFor(Math.max(now + poll, journal.readAt ?? 0));
    }
  }

  /** @returns from when on nobody waits for the upstream's answer any more. @throws ApiError for unreadable settings */
  #answeredBy({ createdAt, closingAt = createdAt }: Journal): number {
    return closingAt + this.settings().UPSTREAM_TIMEOUT_MS + ANSWER_MS;
  }

  #orLater(time: () => number): number {
    try {
      return time();
    } catch {
      // Unreadable settings are reported elsewhere.
      return this.now() + UNREADABLE_MS;
    }
  }
}

/** @returns whether the upstream's answer to the create may still come. */
function isUnanswered({ phase }: Journal): boolean {
  return phase === 'closing' || phase === 'unknown';
}

/** @returns whether some failed work is left to do. */
function isUntidy({ phase, isReported, isReleased, isErased, isAlerted, upstreamId }: Journal): boolean {
  const isVoid = phase === 'refused' || phase === 'unsent';
  return (
    (isReported === false && !isErased && !isVoid) ||
    (isVoid && !isReleased) ||
    (phase === 'ended' && (isErased === true || (upstreamId === undefined && !isReleased))) ||
    (phase === 'unknown' && !isAlerted && !isErased)
  );
}
