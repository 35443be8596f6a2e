import { UNREADABLE_MS } from '../../gate/settings/retention.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import { deliverEnd } from '../../kit/delivery/deliver-event.ts';
import type * as z from '../../kit/http/zod.ts';
import type { Bindings } from '../../kit/objects/bindings.ts';
import { EdgeObject } from '../../kit/objects/edge-object.ts';
import {
  type KeptAnswer,
  keepAnswer,
  RECALLED_AT_ONCE,
  recallAnswers,
} from '../../named/classify/classified-answers.ts';
import type { ClassificationEnded } from '../classify-batches/classifications-answers.schema.ts';
import type { ResultPage, TakenInput } from '../classify-batches/contracts/classification.ts';
import { BatchRecord } from './batch-record.ts';
import type { batchEnded } from './batches-answers.schema.ts';
import type { BatchObject, BatchOpening, BatchState, CreateAnswer } from './contracts/batch.ts';
import { batchOf, classificationOf, isOpen, type Journal, NO_OUTCOMES, stateOf } from './journal.ts';
import { electedOf, resultPage } from './label-results.ts';
import { endBatch, pollBatch, tellCancel } from './poll-batch.ts';
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

/** How many writes of KV one alarm makes. */
const KEPT_IN_AN_ALARM = 500;
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
  /** Answers on their way into the cache. */
  #keeping: Promise<unknown> = Promise.resolve();

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#record = new BatchRecord(ctx.storage, this.around);
  }

  prepare(opening: BatchOpening): void {
    if (this.#journal) return;
    this.#record.begin({ ...opening, phase: 'prepared', createdAt: this.now() });
    if (opening.labels) this.#record.labels.begin();
    this.#wakeIn(PREPARED_MS);
  }

  async recall(account: string, hashes: string[]): Promise<[string, KeptAnswer][]> {
    const known: [string, KeptAnswer][] = [];
    for (let from = 0; from < hashes.length; from += RECALLED_AT_ONCE) {
      known.push(...(await recallAnswers(this.env.STORE, account, hashes.slice(from, from + RECALLED_AT_ONCE))));
    }
    return known;
  }

  take(from: number, inputs: TakenInput[]): void {
    if (this.#journal?.phase !== 'prepared') throw new Error('It is not prepared.');
    this.#record.labels.add(from, inputs);
  }

  async endEmpty(): Promise<void> {
    if (this.#journal?.phase !== 'prepared') return;
    await endBatch(this.#record, { outcomes: NO_OUTCOMES, cost: 0 });
    this.#wakeIn(0);
  }

  results(after: number): ResultPage {
    const { phase, labels, isErased } = this.#journal ?? {};
    if (phase !== 'ended' || !labels || isErased) throw new Error('No results.');
    return resultPage(this.#record.labels, after, labels);
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
      this.#wakeIn(this.#journal?.phase === 'running' ? LEAST_POLL_MS : FAILED_MS);
      if (answer.kind === 'doubtful') await this.#record.try(() => this.#decideDoubtful(answer));
      await tellCancel(this.#record);
      await this.#record.try(() => tidyBatch(this.#record));
    }
    return stateOf(this.#journal, this.now());
  }

  async drop(isHeld: boolean): Promise<void> {
    const journal = this.#journal;
    if (!journal || !(journal.phase === 'prepared' || isUnanswered(journal))) return;
    this.#record.change({ phase: 'unsent', isReleased: !isHeld });
    this.#wakeIn(0);
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

  async erase(): Promise<void> {
    const journal = this.#journal;
    if (!journal || journal.isErased) return;
    if (journal.labels) this.#record.labels.clear();
    this.#record.change({ isErased: true, isReported: true });
    if (isOpen(journal) && journal.cancelAt === undefined) this.#record.change({ cancelAt: this.now() });
    // Its last byte will not be sent any more.
    if (journal.phase === 'prepared') this.#record.change({ phase: 'unsent' });
    this.#wakeIn(0);
    // They must be there before the account empties the cache.
    await this.#keeping;
  }

  /** Does the work that is due. It never throws, and sets the alarm again while anything is open. */
  override async alarm(): Promise<void> {
    this.around.alarm.fired();
    await this.#record.try(() => this.#work());
    await this.#record.try(() => this.#deliverEnd());
    await this.#record.try(() => this.#keepAnswers());
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
        return this.#wakeIn(0);
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
    const classification = classificationOf(journal);
    if (classification) {
      const event_id = `evt_${classification.id}`;
      const what = () => ({ event_id, classification });
      return await deliverEnd<ClassificationEnded>(this.#record, 'classification.ended', what);
    }
    await deliverEnd<BatchEnded>(this.#record, 'batch.ended', () => ({ batch: batchOf(journal, this.now()) }));
  }

  /** Caches the answers for which every vote was valid. For the others, another try may give a better answer. */
  async #keepAnswers(): Promise<void> {
    const { phase, account, labels, isErased } = this.#journal ?? {};
    if (phase !== 'ended' || account === undefined || !labels || labels.cacheSeconds === 0 || isErased) return;
    const tables = this.#record.labels;
    const page = tables.unkept(KEPT_IN_AN_ALARM);
    if (page.length === 0) return;
    // If the store fails, they are kept later.
    this.#wakeIn(FAILED_MS);
    const keeping = Promise.all(
      page.map(async ({ n, hash }) => {
        const votes = tables.votesOf(n);
        const isWhole = votes.length === labels.votes && votes.every((vote) => !('error' in vote));
        const answer = isWhole ? electedOf(votes, labels) : undefined;
        if (answer) await keepAnswer(this.env.STORE, account, hash, answer, labels.cacheSeconds);
      }),
    );
    this.#keeping = keeping.catch(() => {});
    await keeping;
    if (!this.#journal || this.#journal.isErased) return;
    tables.noteKept(page.map(({ n }) => n));
    this.#wakeIn(0);
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
    if (isUntidy(journal)) this.#wakeIn(FAILED_MS);
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

  #wakeIn(milliseconds: number): void {
    this.around.alarm.wakeFor(this.now() + milliseconds);
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
