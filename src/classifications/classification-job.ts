import { DAY_MS } from '../async/durations.ts';
import { pause } from '../async/pause.ts';
import { type BatchPlace, callBatch } from '../batches/call-batch.ts';
import { RESULTS_MS } from '../batches/journal.ts';
import { isUnknownThere, UpstreamBatches } from '../batches/upstream-batches.ts';
import { deliverEnd, firstDelivery } from '../delivery/deliver-event.ts';
import type { Bindings } from '../durable/bindings.ts';
import type { BatchState, UpstreamBatch } from '../durable/contracts/batch.ts';
import type {
  ClassificationObject,
  ClassificationOpening,
  ClassificationReport,
  OpenedClassification,
  TakenInput,
  UnknownInput,
} from '../durable/contracts/classification.ts';
import { EdgeObject } from '../durable/edge-object.ts';
import { ObjectRecord } from '../durable/object-record.ts';
import type * as z from '../http/zod.ts';
import { keepAnswer, RECALLED_AT_ONCE, recallAnswers } from '../kv/classified-answers.ts';
import { fromUsd } from '../pricing/cost.ts';
import type { classificationEnded } from './classifications-answers.schema.ts';
import { NO_COUNTS, shownJob } from './job-report.ts';
import { countOutcomes, electedOf, resultOfParts } from './job-results.ts';
import { busySeconds, FIRST_POLL_MS, JOB_AGAIN_MS, JOB_MAKING_MS, jobDueAt, TAKING_SILENT_MS } from './job-schedule.ts';
import { JOB_RECORD, type Job, type JobPhase, JobTables } from './job-tables.ts';
import { readVotes } from './read-votes.ts';

/** A request for the state asks the batch, unless that was done less than this time ago. Milliseconds. */
const POLLED_MS = 1_000;
/** How many reads of KV one call makes. (An invocation may make a thousand.) */
const RECALLS_IN_A_CALL = 100;
/** How many writes of KV one alarm makes. */
const KEPT_IN_AN_ALARM = 500;
const RESULTS_AT_ONCE = 500;
/** How much is returned together. */
const TEXTS_AT_ONCE = { characters: 524_288, inputs: 1_000 };
type ClassificationEnded = z.output<typeof classificationEnded>;
const NOT_MADE = 'This classification is not being made any more.';

/**
 * The object of one classification by batch: its inputs, the known answers, and the answers of its batch. Only the batch
 * handles money. A crash here loses nothing, since the batch's results can be read again. It is not the batch's own object:
 * it exists before the batch, each try to make one has another id, and where all answers are known there is none.
 *
 * @example export { ClassificationJob } from 'sluice';
 */
export class ClassificationJob extends EdgeObject implements ClassificationObject {
  readonly #record: ObjectRecord<Job>;
  readonly #tables: JobTables;
  #polledAt = 0;
  /** Answers on their way into the cache. */
  #keeping: Promise<unknown> = Promise.resolve();

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#record = new ObjectRecord(ctx.storage, this.around, JOB_RECORD);
    this.#tables = new JobTables(ctx.storage);
  }

  async open(opening: ClassificationOpening): Promise<OpenedClassification> {
    if (this.#job && this.#job.digest !== opening.digest) return { state: 'other' };
    if (this.#job?.phase === 'sending') await this.#recover(this.#job);
    const before = this.#job;
    if (before?.phase === 'running' || before?.phase === 'ended') return { state: 'taken', report: shownJob(before) };
    const now = this.now();
    const { id, batch } = opening;
    if (before?.batch !== batch) {
      // The same may be sent again while it is still being made. A maker that has died is silent.
      if (before && (before.phase !== 'taking' || now < before.touchedAt + TAKING_SILENT_MS)) {
        return { state: 'busy', seconds: busySeconds(before, now) };
      }
      const begun = { createdAt: now, touchedAt: now, recalledTo: -1, counts: NO_COUNTS };
      this.#record.begin({ ...opening, phase: 'taking', ...begun });
      this.#tables.clear();
    }
    this.around.alarm.wakeFor(now + JOB_MAKING_MS);
    // This comes before any input is stored, so that an erasure of the account reaches it.
    await this.#record.account((account) => account.noteClassification(id, true));
    return { state: 'new' };
  }

  take(batch: string, from: number, inputs: TakenInput[]): void {
    this.#touch(batch);
    this.#tables.add(from, inputs);
  }

  async begin(batch: string): Promise<ClassificationReport | undefined> {
    // The call was repeated, because its answer was lost.
    if (this.#job?.batch === batch && this.#job.phase !== 'taking') return shownJob(this.#job);
    for (let calls = 0; calls < RECALLS_IN_A_CALL; calls += 1) {
      const before = this.#touch(batch);
      const { recalledTo, account, cacheSeconds } = before;
      const page = cacheSeconds === 0 ? [] : this.#tables.hashesAfter(recalledTo, RECALLED_AT_ONCE);
      const last = page.at(-1);
      if (!last) return await this.#begun(before);
      const hashes = page.map(({ hash }) => hash);
      const found = await recallAnswers(this.env.STORE, account, hashes);
      this.#touch(batch);
      const known = page.flatMap(({ n, hash }) => {
        const answer = found.get(hash);
        return answer ? [[n, answer] as const] : [];
      });
      this.#tables.noteKnown(new Map(known));
      this.#record.change({ recalledTo: last.n });
      await pause(0);
    }
  }

  async #begun(job: Job): Promise<ClassificationReport> {
    const { texts, ...counts } = this.#tables.counts();
    const all = { ...job.counts, ...counts, requests: texts * job.votes };
    if (texts > 0) this.#record.change({ counts: all, phase: 'sending' });
    else await this.#end(job, { cost: 0 }, all);
    return shownJob(this.#job ?? { ...job, counts: all });
  }

  unknown(batch: string, after: number): UnknownInput[] {
    this.#touch(batch, 'sending');
    return this.#tables.textsAfter(after, TEXTS_AT_ONCE);
  }

  sent(batch: string): ClassificationReport {
    const job = this.#job;
    if (job?.batch !== batch) throw new Error(NOT_MADE);
    if (job.phase === 'sending') this.#run();
    return shownJob(this.#job as Job);
  }

  async drop(batch: string): Promise<void> {
    const job = this.#job;
    if (job?.batch !== batch) return;
    if (job.phase === 'taking') return await this.#forget(job);
    if (job.phase !== 'sending') return;
    this.#record.change({ isAbandoned: true });
    this.around.alarm.wakeFor(this.now() + FIRST_POLL_MS);
    await this.#recover({ ...job, isAbandoned: true });
  }

  read(): ClassificationReport | undefined {
    const job = this.#job;
    // A classification that is still being made is not known to anybody yet.
    if (!job || job.phase === 'taking' || job.phase === 'sending') return undefined;
    const now = this.now();
    if (job.phase === 'running' && now - this.#polledAt > POLLED_MS) this.around.alarm.wakeFor(now);
    return shownJob(job);
  }

  results(after: number): { lines: string; last: number | null } {
    const job = this.#job;
    if (job?.phase !== 'ended') throw new Error('There are no results, or no more.');
    const page = this.#tables.partsAfter(after, RESULTS_AT_ONCE);
    const lines = page.map(
      (parts) => `${JSON.stringify({ type: 'result', id: parts.id, ...resultOfParts(parts, job) })}\n`,
    );
    return { lines: lines.join(''), last: page.at(-1)?.n ?? null };
  }

  async cancel(): Promise<ClassificationReport | undefined> {
    const job = this.#job;
    if (job?.phase === 'running') {
      await callBatch(this.#placeOf(job), (batch) => batch.cancel());
      if (this.#job?.phase === 'running') this.#record.change({ cancelAt: this.#job.cancelAt ?? this.now() });
      this.around.alarm.wakeFor(this.now());
    }
    return this.read();
  }

  async erase(): Promise<void> {
    // Answers on their way into the cache must be there before the account empties it.
    await Promise.all([this.#record.forget(), this.#keeping]);
  }

  /** Does the work that is due. It never throws, and sets the alarm again while anything is open. */
  override async alarm(): Promise<void> {
    this.around.alarm.fired();
    const isDone = await this.#record.try(() => this.#work());
    if (!isDone) this.around.alarm.wakeFor(this.now() + JOB_AGAIN_MS);
    if (this.#job) this.around.alarm.wakeFor(jobDueAt(this.#job, this.now()));
  }

  async #work(): Promise<void> {
    const job = this.#job;
    switch (job?.phase) {
      case undefined:
        return await this.#record.forget();
      case 'taking':
        if (this.now() >= job.touchedAt + JOB_MAKING_MS) await this.#forget(job);
        return;
      case 'sending':
        return await this.#recover(job);
      case 'running':
        return await this.#poll(job);
      case 'ended':
        await deliverEnd<ClassificationEnded>(this.#record, 'classification.ended', () => ({
          classification: shownJob(job),
        }));
        await this.#keepAnswers(job);
        if (this.now() >= (job.endedAt ?? 0) + RESULTS_MS) await this.#forget(job);
        return;
    }
  }

  /**
   * Checks whether a batch was made although its maker has not said so. While the maker may still live, the classification
   * stays open, because it may still get its batch.
   */
  async #recover(job: Job): Promise<void> {
    const isLate = this.now() >= job.touchedAt + JOB_MAKING_MS;
    const state = await this.#batchState(job);
    if (this.#job?.phase !== 'sending' || this.#job.batch !== job.batch) return;
    if (state.kind === 'known') {
      // Until the upstream has the batch, its last bytes may be withheld. If it is still known now, it was not given up.
      if (isLate || state.upstream || state.batch.processing_status === 'ended') this.#run();
    } else if (isLate || job.isAbandoned) await this.#forget(this.#job);
  }

  async #poll(job: Job): Promise<void> {
    this.#polledAt = this.now();
    const state = await this.#batchState(job);
    if (this.#job?.phase !== 'running') return;
    // The batch was deleted before its results were read. Its inputs then say so.
    if (state.kind !== 'known') return await this.#end(this.#job, {});
    const { batch, upstream } = state;
    if (batch.processing_status !== 'ended') return;
    const usage = batch.results_url === null || !upstream ? undefined : await this.#readVotes(job, upstream, batch);
    const latest = this.#job as Job | undefined;
    if (latest?.phase === 'running') {
      await this.#end(latest, { cost: fromUsd(batch.cost_usd ?? 0), ...(usage ? { usage } : {}) });
    }
  }

  /**
   * Reads the results of the batch once, as they come. After a crash, the next alarm reads them again.
   *
   * @returns the usage of the answers; undefined if the upstream has not had them for a day.
   */
  async #readVotes(
    job: Job,
    upstream: UpstreamBatch,
    { ended_at }: { ended_at: string | null },
  ): Promise<Job['usage']> {
    try {
      const answered = await new UpstreamBatches(this.upstream(), this.settings(), upstream).results(upstream.id);
      return await readVotes(answered, job, (votes) => {
        if (this.#job?.phase === 'running') this.#tables.addVotes(votes);
      });
    } catch (thrown) {
      if (isUnknownThere(thrown) && this.now() > Date.parse(ended_at ?? '') + DAY_MS) return undefined;
      throw thrown;
    }
  }

  #run(): void {
    this.#tables.forgetTexts();
    this.#record.change({ phase: 'running' });
    this.around.alarm.wakeFor(this.now() + FIRST_POLL_MS);
  }

  /** Counts the outcomes of the inputs. From then on there are results. */
  async #end(job: Job, sums: Pick<Job, 'cost' | 'usage'>, known = job.counts): Promise<void> {
    const isOver = () => this.#job?.batch !== job.batch || this.#job.phase !== job.phase;
    const partsAfter = (n: number) => (isOver() ? [] : this.#tables.partsAfter(n, RESULTS_AT_ONCE));
    const counts = { ...known, ...(await countOutcomes(partsAfter, job)) };
    // It was ended or deleted meanwhile.
    if (isOver()) return;
    const endedAt = this.now();
    this.#record.change({ ...sums, counts, phase: 'ended', endedAt, ...firstDelivery(this.#record) });
    this.around.alarm.wakeFor(endedAt);
  }

  /** Caches the answers for which every vote was valid. For the others, another try may give a better answer. */
  async #keepAnswers({ account, cacheSeconds, votes: asked, classifier }: Job): Promise<void> {
    if (cacheSeconds === 0) return;
    const page = this.#tables.unkept(KEPT_IN_AN_ALARM);
    const keeping = Promise.all(
      page.map(async ({ n, hash }) => {
        const votes = this.#tables.votesOf(n);
        const isWhole = votes.length === asked && votes.every((vote) => !('error' in vote));
        const answer = isWhole ? electedOf(votes, { classifier, votes: asked }) : undefined;
        if (answer) await keepAnswer(this.env.STORE, account, hash, answer, cacheSeconds);
      }),
    );
    this.#keeping = keeping.catch(() => {});
    await keeping;
    if (!this.#job) return;
    this.#tables.noteKept(page.map(({ n }) => n));
    if (page.length > 0) this.around.alarm.wakeFor(this.now());
  }

  /**
   * Notes that the maker of the batch is still alive.
   *
   * @throws Error if this maker no longer makes the classification, because another one does, or nobody
   */
  #touch(batch: string, phase: JobPhase = 'taking'): Job {
    if (this.#job?.phase !== phase || this.#job.batch !== batch) throw new Error(NOT_MADE);
    this.#record.change({ touchedAt: this.now() });
    return this.#job;
  }

  get #job(): Job | undefined {
    return this.#record.journal;
  }

  async #batchState(job: Job): Promise<BatchState> {
    return await callBatch(this.#placeOf(job), (object) => object.read());
  }

  #placeOf({ account, batch }: Job): BatchPlace {
    return { env: this.env, settings: this.settings(), account, id: batch };
  }

  /** Reports to the account and deletes everything, unless another request has gone on with it meanwhile. */
  async #forget({ id, batch }: Job): Promise<void> {
    if (this.#job?.batch !== batch) return;
    // A request that sends the same again must wait until it is deleted.
    this.#record.change({ touchedAt: this.now() });
    const leaving = this.#job;
    await this.#record.account((account) => account.noteClassification(id, false));
    if (this.#job === leaving) await this.#record.forget();
    else if (this.#job) await this.#record.account((account) => account.noteClassification(id, true));
  }
}
