import { MINUTE_MS } from '../async/durations.ts';
import { deliverEnd } from '../delivery/deliver-event.ts';
import type { Bindings } from '../durable/bindings.ts';
import type { BatchObject, BatchOpening, BatchState, CreateAnswer } from '../durable/contracts/batch.ts';
import { EdgeObject } from '../durable/edge-object.ts';
import type * as z from '../http/zod.ts';
import { UNREADABLE_MS } from '../settings/retention.ts';
import { BatchRecord } from './batch-record.ts';
import type { batchEnded } from './batches-answers.schema.ts';
import { dropGuess, findBatch, isTooLate, pendingOf } from './find-batch.ts';
import { batchOf, isOpen, type Journal, NO_OUTCOMES, stateOf } from './journal.ts';
import { endBatch, pollBatch, tellCancel } from './poll-batch.ts';
import { keptUntil, REFUSAL_MS, tidyBatch } from './tidy-batch.ts';

/**
 * The most milliseconds between the journal and the last byte, with one call of the account. After that the maker has died.
 */
const PREPARED_MS = 5 * MINUTE_MS;
/** Milliseconds to wait for the upstream's answer to a create, before the batch is searched in the upstream's list. */
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
    this.#wakeIn(PREPARED_MS);
  }

  async closing(): Promise<boolean> {
    const journal = this.#journal;
    if (journal?.phase === 'prepared') {
      const pending = pendingOf({ ...journal, closingAt: this.now() });
      await this.#record.claims((claims) => claims.begin(pending));
      // The alarm may have given it up meanwhile.
      if (this.#journal?.phase === 'prepared') {
        this.#record.change({ phase: 'closing', closingAt: pending.at, isReported: false });
        this.#wakeIn(ANSWER_MS);
      }
    }
    // A repeated call gets the same yes. Only the sender of the last byte asks, and asks again if the answer was lost.
    return this.#journal?.phase === 'closing';
  }

  async answered(answer: CreateAnswer): Promise<BatchState> {
    const journal = this.#journal;
    if (journal && isUnanswered(journal)) {
      if (answer.kind === 'made') {
        const { id: upstreamId, expiresAt } = answer;
        this.#record.change({
          phase: 'running',
          upstreamId,
          expiresAt,
          isGuess: false,
          isClaimed: false,
          isReported: false,
        });
      } else if (answer.kind === 'refused') this.#refuse(answer);
      else if (journal.phase === 'closing') this.#record.change({ phase: 'lost' });
      this.#wakeIn(this.#journal?.phase === 'running' ? LEAST_POLL_MS : 0);
      await this.#record.try(() => this.#giveUpGuess(journal));
      if (answer.kind === 'doubtful') await this.#record.try(() => this.#decideDoubtful(answer));
      await tellCancel(this.#record);
      await this.#record.try(() => tidyBatch(this.#record));
    }
    return stateOf(this.#journal, this.now());
  }

  async drop(isHeld: boolean): Promise<void> {
    const journal = this.#journal;
    if (!journal || !(journal.phase === 'prepared' || isUnanswered(journal))) return;
    this.#record.change({ phase: 'unsent', upstreamId: undefined, isGuess: undefined, isReleased: !isHeld });
    this.#wakeIn(0);
    await this.#record.try(() => this.#giveUpGuess(journal));
    await this.#record.try(() => tidyBatch(this.#record));
  }

  read(): BatchState {
    const now = this.now();
    if (this.#journal?.phase === 'running' && now - this.#polledAt > ASKED_POLL_MS) this.#wakeIn(0);
    return stateOf(this.#journal, now);
  }

  async cancel(): Promise<BatchState> {
    const journal = this.#journal;
    const mayRun = journal && !journal.isErased && (isOpen(journal) || journal.phase === 'prepared');
    if (mayRun && journal.cancelAt === undefined) {
      this.#record.change({ cancelAt: this.now(), isReported: false });
      this.#wakeIn(FAILED_MS);
      await tellCancel(this.#record);
      await this.#record.try(() => tidyBatch(this.#record));
    }
    return stateOf(this.#journal, this.now());
  }

  async remove(): Promise<'removed' | 'running' | 'none'> {
    const journal = this.#journal;
    if (stateOf(journal, this.now()).kind !== 'known' || !journal) return 'none';
    if (journal.phase !== 'ended') return 'running';
    this.#record.change({ isErased: true, isReported: true });
    this.#wakeIn(FAILED_MS);
    // For the caller it is deleted now. If something fails, the alarm does it later.
    await this.#record.try(() => tidyBatch(this.#record));
    return 'removed';
  }

  erase(): void {
    const journal = this.#journal;
    if (!journal || journal.isErased) return;
    this.#record.change({ isErased: true, isReported: true });
    if (isOpen(journal) && journal.cancelAt === undefined) this.#record.change({ cancelAt: this.now() });
    // Its last byte will not be sent any more.
    if (journal.phase === 'prepared') this.#record.change({ phase: 'unsent' });
    this.#wakeIn(0);
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
      case 'lost':
        if ((await findBatch(this.#record, journal)) === 'none' && isTooLate(journal, this.now())) this.#endUnmade();
        return await tellCancel(this.#record);
      case 'running':
        this.#polledAt = this.now();
        await tellCancel(this.#record);
        if ((await pollBatch(this.#record, journal)) === 'wrong')
          await dropGuess(this.#record, journal.upstreamId ?? '');
        return;
      default:
        return;
    }
  }

  async #deliverEnd(): Promise<void> {
    const journal = this.#journal;
    if (!journal || journal.isErased) return;
    await deliverEnd<BatchEnded>(this.#record, 'batch.ended', () => ({ batch: batchOf(journal, this.now()) }));
  }

  /** Ends a batch that the upstream has never made. */
  #endUnmade(): void {
    const journal = this.#journal;
    if (journal?.phase !== 'closing' && journal?.phase !== 'lost') return;
    endBatch(this.#record, { outcomes: { ...NO_OUTCOMES, expired: journal.items }, cost: 0, isGuess: false });
  }

  /** Searches the upstream's list after a failure that does not say whether the batch was made. */
  async #decideDoubtful(answer: Extract<CreateAnswer, { kind: 'doubtful' }>): Promise<void> {
    const journal = this.#journal;
    if (journal?.phase !== 'lost') return;
    if ((await findBatch(this.#record, journal)) === 'none' && this.#journal?.phase === 'lost') this.#refuse(answer);
  }

  #refuse({ kind: _, ...refusal }: Extract<CreateAnswer, { kind: 'refused' | 'doubtful' }>): void {
    this.#record.change({ phase: 'refused', refusal, endedAt: this.now(), upstreamId: undefined, isGuess: undefined });
  }

  /** Gives up a wrong guess about the batch, if there was one: now the upstream has said which one it is. */
  async #giveUpGuess({ id, isGuess, upstreamId: guess }: Journal): Promise<void> {
    if (!isGuess || guess === undefined || this.#journal?.upstreamId === guess) return;
    await this.#record.claims((claims) => claims.release(id, guess));
  }

  #wakeForNext(): void {
    const journal = this.#journal;
    if (!journal) return;
    const now = this.now();
    const { phase, createdAt, closingAt = createdAt, endedAt = createdAt, delivery } = journal;
    if (isUntidy(journal)) this.#wakeIn(FAILED_MS);
    if (phase === 'prepared') this.around.alarm.wakeFor(createdAt + PREPARED_MS);
    else if (phase === 'refused') this.around.alarm.wakeFor(endedAt + REFUSAL_MS);
    else if (phase === 'ended') this.around.alarm.wakeFor(delivery?.nextAt ?? this.#keptUntilOrLater(journal));
    else {
      const poll = Math.min(MOST_POLL_MS, Math.max(LEAST_POLL_MS, (now - closingAt) / 10));
      this.around.alarm.wakeFor(Math.max(now + poll, journal.readAt ?? 0));
    }
  }

  #keptUntilOrLater(journal: Journal): number {
    try {
      return keptUntil(this.#record, journal);
    } catch {
      // Unreadable settings are reported elsewhere.
      return this.now() + UNREADABLE_MS;
    }
  }

  #wakeIn(milliseconds: number): void {
    this.around.alarm.wakeFor(this.now() + milliseconds);
  }
}

/** @returns whether the upstream's answer to the create may still come. */
function isUnanswered({ phase, isGuess }: Journal): boolean {
  return phase === 'closing' || phase === 'lost' || isGuess === true;
}

/** @returns whether some failed work is left to do. */
function isUntidy({ phase, isReported, isReleased, isErased, isClaimed, upstreamId }: Journal): boolean {
  const isVoid = phase === 'refused' || phase === 'unsent';
  return (
    (isReported === false && !isErased && !isVoid) ||
    (isVoid && !isReleased) ||
    (phase === 'ended' && (isErased === true || (upstreamId === undefined && !isReleased))) ||
    (upstreamId !== undefined && !isClaimed)
  );
}
