import { DAY_MS, MINUTE_MS } from '../async/durations.ts';
import { pause } from '../async/pause.ts';
import { type BatchPlace, callBatch } from '../batches/call-batch.ts';
import { RESULTS_MS } from '../batches/journal.ts';
import { isUnknownThere, UpstreamBatches } from '../batches/upstream-batches.ts';
import { deliverEvent } from '../delivery/deliver-event.ts';
import type { Bindings } from '../durable/bindings.ts';
import { callAccount } from '../durable/call-account.ts';
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
import { logFailure } from '../http/log.ts';
import { keepAnswer, RECALLED_AT_ONCE, recallAnswers } from '../kv/classified-answers.ts';
import { fromUsd } from '../pricing/cost.ts';
import { endOfJob, NO_COUNTS, shownJob } from './job-report.ts';
import { countOutcomes, electedOf, resultOfParts } from './job-results.ts';
import { FIRST_POLL_MS, JOB_AGAIN_MS, JOB_MAKING_MS, jobDueAt } from './job-schedule.ts';
import { type Job, type JobPhase, JobTables } from './job-tables.ts';
import { readVotes } from './read-votes.ts';

/** If the request that brings the inputs is silent for this time, it has died. Milliseconds. */
const TAKING_SILENT_MS = MINUTE_MS;
/** A request for the state asks the batch, unless that was done less than this time ago. Milliseconds. */
const POLLED_MS = 1_000;
/** How many reads of KV one call makes. (An invocation may make a thousand.) */
const RECALLS_IN_A_CALL = 100;
/** How many writes of KV one alarm makes. */
const KEPT_IN_AN_ALARM = 500;
const RESULTS_AT_ONCE = 500;
/** How much is returned together. */
const TEXTS_AT_ONCE = { characters: 524_288, inputs: 1_000 };
const NOT_MADE = 'This classification is not being made any more.';

/**
 * The object of one classification by batch: its inputs, the known answers, and the answers of its batch. Only the batch
 * handles money. A crash here loses nothing, since the batch's results can be read again.
 *
 * @example export { ClassificationJob } from 'sluice';
 */
export class ClassificationJob extends EdgeObject implements ClassificationObject {
  readonly #tables: JobTables;
  #job: Job | undefined;
  #polledAt = 0;
  /** Answers on their way into the cache. */
  #keeping: Promise<unknown> = Promise.resolve();

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#tables = new JobTables(ctx.storage);
    this.#job = this.#tables.load();
  }

  async open(opening: ClassificationOpening): Promise<OpenedClassification> {
    if (this.#job && this.#job.digest !== opening.digest) return { state: 'other' };
    if (this.#job?.phase === 'sending') await this.#recover(this.#job);
    const before = this.#job;
    if (before?.phase === 'running' || before?.phase === 'ended') return { state: 'taken', report: shownJob(before) };
    const now = this.now();
    const { id, account, batch } = opening;
    if (before?.batch !== batch) {
      // The same may be sent again while it is still being made. A maker that has died is silent.
      if (before && (before.phase !== 'taking' || now < before.touchedAt + TAKING_SILENT_MS)) return { state: 'busy' };
      this.#tables.create();
      this.#save({ ...opening, phase: 'taking', createdAt: now, touchedAt: now, recalledTo: -1, counts: NO_COUNTS });
    }
    this.around.alarm.wakeFor(now + JOB_MAKING_MS);
    // This comes before any input is stored, so that an erasure of the account reaches it.
    await this.#callAccount(account, (object) => object.noteClassification(id, true));
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
      const { recalledTo, account } = before;
      const page = this.#tables.hashesAfter(recalledTo, RECALLED_AT_ONCE);
      const last = page.at(-1);
      if (!last) return await this.#begun(before);
      const hashes = page.map(({ hash }) => hash);
      const found = await recallAnswers(this.env.STORE, account, hashes);
      const job = this.#touch(batch);
      const known = page.flatMap(({ n, hash }) => {
        const answer = found.get(hash);
        return answer ? [[n, answer] as const] : [];
      });
      this.#tables.noteKnown(new Map(known));
      this.#save({ ...job, recalledTo: last.n });
      await pause(0);
    }
  }

  async #begun(job: Job): Promise<ClassificationReport> {
    const { texts, ...counts } = this.#tables.counts();
    const next: Job = { ...job, counts: { ...job.counts, ...counts, requests: texts * job.votes } };
    if (texts > 0) this.#save({ ...next, phase: 'sending' });
    else await this.#end(job, { cost: 0 }, next.counts);
    return shownJob(this.#job ?? next);
  }

  unknown(batch: string, after: number): UnknownInput[] {
    this.#touch(batch, 'sending');
    return this.#tables.textsAfter(after, TEXTS_AT_ONCE);
  }

  sent(batch: string): ClassificationReport {
    const job = this.#job;
    if (job?.batch !== batch) throw new Error(NOT_MADE);
    if (job.phase === 'sending') this.#run(job);
    return shownJob(this.#job as Job);
  }

  async drop(batch: string): Promise<void> {
    const job = this.#job;
    if (job?.batch !== batch) return;
    if (job.phase === 'taking') return await this.#forget(job);
    if (job.phase !== 'sending') return;
    const abandoned = { ...job, isAbandoned: true };
    this.#save(abandoned);
    this.around.alarm.wakeFor(this.now() + FIRST_POLL_MS);
    await this.#recover(abandoned);
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
      if (this.#job?.phase === 'running') this.#save({ ...this.#job, cancelAt: this.#job.cancelAt ?? this.now() });
      this.around.alarm.wakeFor(this.now());
    }
    return this.read();
  }

  async erase(): Promise<void> {
    this.#job = undefined;
    // Answers on their way into the cache must be there before the account empties it.
    await this.#keeping;
    await this.around.deleteAll();
  }

  /** Does the work that is due. It never throws, and sets the alarm again while anything is open. */
  override async alarm(): Promise<void> {
    this.around.alarm.fired();
    try {
      await this.#work();
    } catch (thrown) {
      logFailure({ classification: this.#job?.id ?? '' }, thrown);
      this.around.alarm.wakeFor(this.now() + JOB_AGAIN_MS);
    }
    if (this.#job) this.around.alarm.wakeFor(jobDueAt(this.#job, this.now()));
  }

  async #work(): Promise<void> {
    const job = this.#job;
    switch (job?.phase) {
      case undefined:
        return await this.around.deleteAll();
      case 'taking':
        if (this.now() >= job.touchedAt + JOB_MAKING_MS) await this.#forget(job);
        return;
      case 'sending':
        return await this.#recover(job);
      case 'running':
        return await this.#poll(job);
      case 'ended':
        await this.#deliver(job);
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
      if (isLate || state.upstream || state.batch.processing_status === 'ended') this.#run(this.#job);
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
    const usage = batch.results_url === null || !upstream ? undefined : await this.#votesThere(job, upstream, batch);
    const latest = this.#job as Job | undefined;
    if (latest?.phase === 'running') {
      await this.#end(latest, { cost: fromUsd(batch.cost_usd ?? 0), ...(usage ? { usage } : {}) });
    }
  }

  /** @returns the usage of the answers; undefined if the upstream has not had them for a day. */
  async #votesThere(
    job: Job,
    upstream: UpstreamBatch,
    { ended_at }: { ended_at: string | null },
  ): Promise<Job['usage']> {
    try {
      return await this.#readVotes(job, upstream);
    } catch (thrown) {
      if (isUnknownThere(thrown) && this.now() > Date.parse(ended_at ?? '') + DAY_MS) return undefined;
      throw thrown;
    }
  }

  /** Reads the results of the batch once, as they come. After a crash, the next alarm reads them again. */
  async #readVotes(job: Job, upstream: UpstreamBatch): Promise<NonNullable<Job['usage']>> {
    const settings = this.settings();
    const answered = await new UpstreamBatches(this.upstream(), settings, upstream).results(upstream.id);
    const store = (votes: Parameters<JobTables['addVotes']>[0]) => {
      if (this.#job?.phase === 'running') this.#tables.addVotes(votes);
    };
    return await readVotes(answered, job, store);
  }

  #run(job: Job): void {
    this.#tables.forgetTexts();
    this.#save({ ...job, phase: 'running' });
    this.around.alarm.wakeFor(this.now() + FIRST_POLL_MS);
  }

  /** Counts the outcomes of the inputs. From then on there are results. */
  async #end(job: Job, sums: Pick<Job, 'cost' | 'usage'>, known = job.counts): Promise<void> {
    const isOver = () => this.#job?.batch !== job.batch || this.#job.phase !== job.phase;
    const partsAfter = (n: number) => (isOver() ? [] : this.#tables.partsAfter(n, RESULTS_AT_ONCE));
    const counts = { ...known, ...(await countOutcomes(partsAfter, job)) };
    const latest = this.#job;
    // It was ended or deleted meanwhile.
    if (!latest || isOver()) return;
    const url = job.deliverUrl ?? this.settings().BATCH_DELIVER_URL;
    const endedAt = this.now();
    const delivery = url === undefined ? {} : { delivery: { failures: 0, nextAt: endedAt } };
    this.#save({ ...latest, ...sums, counts, phase: 'ended', endedAt, ...delivery });
    this.around.alarm.wakeFor(endedAt);
  }

  async #deliver(job: Job): Promise<void> {
    const { delivery, deliverUrl: url } = job;
    if (!delivery || this.now() < delivery.nextAt) return;
    const by = { settings: this.settings(), env: this.env, now: this.now() };
    const to = { url, usual: by.settings.BATCH_DELIVER_URL, failures: delivery.failures };
    const next = await deliverEvent(endOfJob(job), to, by);
    if (!this.#job) return;
    const { delivery: _, ...rest } = this.#job;
    this.#save(next ? { ...rest, delivery: next } : rest);
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
    const job = { ...this.#job, touchedAt: this.now() };
    this.#save(job);
    return job;
  }

  #save(job: Job): void {
    this.#job = job;
    this.#tables.save(job);
  }

  async #batchState(job: Job): Promise<BatchState> {
    return await callBatch(this.#placeOf(job), (object) => object.read());
  }

  #placeOf({ account, batch }: Job): BatchPlace {
    return { env: this.env, settings: this.settings(), account, id: batch };
  }

  /** Reports to the account and deletes everything, unless another request has gone on with it meanwhile. */
  async #forget({ id, account, batch }: Job): Promise<void> {
    const job = this.#job;
    if (job?.batch !== batch) return;
    // A request that sends the same again must wait until it is deleted.
    const leaving = { ...job, touchedAt: this.now() };
    this.#job = leaving;
    await this.#callAccount(account, (object) => object.noteClassification(id, false));
    if (this.#job !== leaving) return await this.#callAccount(account, (object) => object.noteClassification(id, true));
    this.#job = undefined;
    await this.around.deleteAll();
  }

  async #callAccount(account: string, call: Parameters<typeof callAccount<void>>[1]): Promise<void> {
    await callAccount({ identity: { account }, accounts: this.env, settings: this.settings() }, call, 'persistent');
  }
}
