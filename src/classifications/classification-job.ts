import { DurableObject } from 'cloudflare:workers';
import { MINUTE_MS } from '../async/durations.ts';
import { IdleTimeout } from '../async/idle-timeout.ts';
import { callBatch } from '../batches/call-batch.ts';
import { tellEnd } from '../batches/deliver-end.ts';
import { RESULTS_MS } from '../batches/journal.ts';
import { resultLines } from '../batches/read-results.ts';
import { UpstreamBatches } from '../batches/upstream-batches.ts';
import { Alarm } from '../durable/alarm.ts';
import type { Bindings } from '../durable/bindings.ts';
import { callAccount } from '../durable/call-account.ts';
import type { BatchState, UpstreamBatch } from '../durable/contracts/batch.ts';
import type {
  ClassificationObject,
  ClassificationOpening,
  ClassificationReport,
  TakenInput,
  UnknownInput,
} from '../durable/contracts/classification.ts';
import { logFailure } from '../http/log.ts';
import type * as z from '../http/zod.ts';
import { parseObject } from '../json/object.ts';
import { type KeptAnswer, keepAnswer, RECALLED_AT_ONCE, recallAnswers } from '../kv/classified-answers.ts';
import { fromUsd, toUsd } from '../pricing/cost.ts';
import { type Settings, settingsOf } from '../settings/settings.ts';
import { interrupted } from '../upstream/failure.ts';
import { type Upstream, upstreamOf } from '../upstream/upstream.ts';
import type { classificationEnded } from './classifications-answers.schema.ts';
import { electedOf, readVote, resultOfParts, type VoteLine } from './job-results.ts';
import { type Job, JobTables } from './job-tables.ts';

/** Whoever makes it says something more often than this, or is dead. */
const JOB_MAKING_MS = 15 * MINUTE_MS;
const FIRST_POLL_MS = 2_000;
const LONGEST_POLL_MS = MINUTE_MS;
/** Somebody who asks has the batch asked, if that was not just done. */
const POLLED_MS = 1_000;
const JOB_AGAIN_MS = 30_000;
/** Reads of KV in one call: an invocation may make a thousand. */
const RECALLS_IN_A_CALL = 100;
/** Writes of KV in one alarm. */
const KEPT_IN_AN_ALARM = 500;
const VOTES_AT_ONCE = 500;
const RESULTS_AT_ONCE = 1_000;
/** Characters of inputs that are given out together. */
const TEXTS_AT_ONCE = 524_288;

/**
 * The object of one classification by batch: its inputs, the answers that are known, and those that its batch gives. Money is
 * the batch's: what dies here loses nothing, since the batch's results can be read again.
 */
export class ClassificationJob extends DurableObject<Bindings> implements ClassificationObject {
  readonly #alarm: Alarm;
  readonly #tables: JobTables;
  #job: Job | undefined;
  #polledAt = 0;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#alarm = new Alarm(ctx.storage);
    this.#tables = new JobTables(ctx.storage);
    this.#job = this.#tables.load();
    void ctx.blockConcurrencyWhile(() => this.#alarm.load());
  }

  /** The clock; tests put their own in its place. */
  protected now(): number {
    return Date.now();
  }

  /** The settings; tests put their own in their place. */
  protected settings(): Settings {
    return settingsOf(this.env);
  }

  /** Where the upstream is reached; tests put their own in its place. */
  protected upstream(): Upstream {
    return upstreamOf(this.settings());
  }

  /**
   * Begins a classification, and tells the account of it, so that erasing that reaches this.
   *
   * @returns `taken`: the same was sent before, and is on its way or done; `other`: its key was used for something else
   */
  async open(
    opening: ClassificationOpening,
  ): Promise<{ state: 'new' | 'taken' | 'other'; report?: ClassificationReport }> {
    if (this.#job?.isAbandoned) await this.#recover(this.#job);
    const before = this.#job;
    if (before && before.digest !== opening.digest) return { state: 'other' };
    if (before && before.phase !== 'taking') return { state: 'taken', report: this.#report(before) };
    const { id, account } = opening;
    this.#alarm.wakeFor(this.now() + JOB_MAKING_MS);
    await this.#callAccount(account, (object) => object.noteClassification(id, true));
    const now = this.now();
    const counts = { inputs: 0, cached: 0, repeated: 0, requests: 0, labelled: 0, failed: 0 };
    this.#tables.create();
    this.#save({ ...opening, phase: 'taking', createdAt: now, touchedAt: now, recalledTo: -1, counts });
    return { state: 'new' };
  }

  /** Takes inputs. @param from the place of the first one among all */
  take(from: number, inputs: TakenInput[]): void {
    this.#touch('taking');
    this.#tables.add(from, inputs);
  }

  /** Looks for answers that were given before. @returns how many texts are left to look for; it is called until none is */
  async recall(): Promise<{ left: number }> {
    const job = this.#touch('taking');
    for (let calls = 0; calls < RECALLS_IN_A_CALL; calls += 1) {
      const { recalledTo } = this.#touch('taking');
      const page = this.#tables.hashesAfter(recalledTo, RECALLED_AT_ONCE);
      const last = page.at(-1);
      if (!last) return { left: 0 };
      const found = await recallAnswers(
        this.env.STORE,
        job.account,
        page.map(({ hash }) => hash),
      );
      const now = this.#touch('taking');
      const known = page.flatMap(({ n, hash }) => {
        const answer = found.get(hash);
        return answer ? [[n, answer] as const] : [];
      });
      this.#tables.noteKnown(new Map<number, KeptAnswer>(known));
      this.#save({ ...now, recalledTo: last.n });
    }
    return { left: this.#tables.hashesAfter(this.#touch('taking').recalledTo, 1).length };
  }

  /**
   * Notes the batch before it is made: whoever makes it may die, and it may be made all the same. Where there is nothing to
   * send, the classification ends here.
   */
  begin(batch: string): ClassificationReport {
    const job = this.#touch('taking');
    const { texts, ...counts } = this.#tables.counts();
    const next: Job = { ...job, counts: { ...job.counts, ...counts, requests: texts * job.votes } };
    if (texts > 0) this.#save({ ...next, phase: 'sending', batch });
    else this.#end(next, { cost: 0 });
    return this.#report(this.#job as Job);
  }

  /** @returns the next texts that have to go up. @param after the place of the last one before them */
  unknown(after: number): UnknownInput[] {
    this.#touch('sending');
    return this.#tables.textsAfter(after, TEXTS_AT_ONCE);
  }

  /** Notes that the batch was made. */
  sent(): ClassificationReport {
    const job = this.#job;
    if (!job) throw new Error('There is no such classification.');
    if (job.phase === 'sending') this.#run(job);
    return this.#report(this.#job as Job);
  }

  /** Lets go of a classification whose batch could not be made; if it was made all the same, the classification goes on. */
  async drop(): Promise<void> {
    const job = this.#job;
    if (job?.phase === 'taking') return await this.#forget();
    if (job?.phase !== 'sending') return;
    const abandoned = { ...job, isAbandoned: true };
    this.#save(abandoned);
    this.#alarm.wakeFor(this.now() + FIRST_POLL_MS);
    await this.#recover(abandoned);
  }

  read(): ClassificationReport | undefined {
    const job = this.#job;
    if (!job || job.phase === 'taking') return undefined;
    const now = this.now();
    if (job.phase === 'running' && now - this.#polledAt > POLLED_MS) this.#alarm.wakeFor(now);
    return this.#report(job);
  }

  /** @returns the next results as lines of JSON, and the place of the last one; null behind the last of all */
  results(after: number): { lines: string; last: number | null } {
    const job = this.#job;
    if (job?.phase !== 'ended') return { lines: '', last: null };
    const page = this.#tables.partsAfter(after, RESULTS_AT_ONCE);
    const lines = page.map(
      (parts) => `${JSON.stringify({ type: 'result', id: parts.id, ...resultOfParts(parts, job) })}\n`,
    );
    return { lines: lines.join(''), last: page.at(-1)?.n ?? null };
  }

  /** Has the batch cancelled. What was answered until then stays. */
  async cancel(): Promise<ClassificationReport | undefined> {
    const job = this.#job;
    if (job?.phase === 'running' && job.batch !== undefined) {
      await callBatch(this.#placeOf(job, job.batch), (batch) => batch.cancel());
      if (this.#job?.phase === 'running') this.#save({ ...this.#job, cancelAt: this.#job.cancelAt ?? this.now() });
      this.#alarm.wakeFor(this.now());
    }
    return this.read();
  }

  /** Forgets everything: the account is erased. Its batches are erased by the account itself. */
  async erase(): Promise<void> {
    this.#job = undefined;
    await this.#deleteAll();
  }

  /** Does what is due: it never throws, and sets itself again as long as anything is open. */
  override async alarm(): Promise<void> {
    this.#alarm.fired();
    try {
      await this.#work();
    } catch (thrown) {
      logFailure({ classification: this.#job?.id ?? '' }, thrown);
      this.#alarm.wakeFor(this.now() + JOB_AGAIN_MS);
    }
    this.#wakeForNext();
  }

  async #work(): Promise<void> {
    const job = this.#job;
    switch (job?.phase) {
      case undefined:
        return await this.#deleteAll();
      case 'taking':
        if (this.now() >= job.touchedAt + JOB_MAKING_MS) await this.#forget();
        return;
      case 'sending':
        return await this.#recover(job);
      case 'running':
        return await this.#poll(job);
      case 'ended':
        await this.#deliver(job);
        await this.#keepAnswers(job);
        if (this.now() >= (job.endedAt ?? 0) + RESULTS_MS) await this.#forget();
        return;
    }
  }

  /** Whoever made the batch has not said whether it was made. */
  async #recover(job: Job): Promise<void> {
    if (!job.isAbandoned && this.now() < job.touchedAt + JOB_MAKING_MS) return;
    const state = await this.#batchState(job);
    if (this.#job?.phase !== 'sending') return;
    if (state.kind === 'known') this.#run(this.#job);
    // Nobody was told of this classification.
    else await this.#forget();
  }

  async #poll(job: Job): Promise<void> {
    this.#polledAt = this.now();
    const state = await this.#batchState(job);
    if (this.#job?.phase !== 'running') return;
    if (state.kind !== 'known') {
      // It was not made after all. One that was made was deleted before its results were read, as its inputs then say.
      if (job.isAbandoned) return await this.#forget();
      return this.#end(this.#job, {});
    }
    const { batch, upstream } = state;
    if (batch.processing_status !== 'ended') return;
    const usage = batch.results_url === null || !upstream ? undefined : await this.#readVotes(job, upstream);
    const latest = this.#job as Job | undefined;
    if (latest?.phase === 'running') {
      this.#end(latest, { cost: fromUsd(batch.cost_usd ?? 0), ...(usage ? { usage } : {}) });
    }
  }

  /** Reads the results of the batch once, as they come. If this dies, the next alarm reads them again. */
  async #readVotes(job: Job, upstream: UpstreamBatch): Promise<NonNullable<Job['usage']>> {
    const settings = this.settings();
    const controller = new AbortController();
    const calls = new UpstreamBatches(this.upstream(), settings, upstream);
    const response = await calls.results(upstream.id, controller);
    const idle = settings.STREAM_IDLE_MS;
    const watchdog = new IdleTimeout(controller, idle, idle, () => interrupted(true));
    const usage = noUsage();
    let votes: VoteLine[] = [];
    const store = () => {
      if (this.#job?.phase === 'running') this.#tables.addVotes(votes);
      votes = [];
    };
    try {
      for await (const bytes of resultLines(response, () => watchdog.touch())) {
        const line = parseObject(bytes);
        const vote = line && readVote(line, job);
        if (!vote) continue;
        votes.push(vote);
        for (const kind of Object.keys(usage) as (keyof typeof usage)[]) usage[kind] += vote.usage[kind] ?? 0;
        if (votes.length >= VOTES_AT_ONCE) store();
      }
    } finally {
      watchdog.stop();
    }
    store();
    return usage;
  }

  #run(job: Job): void {
    this.#tables.forgetTexts();
    this.#save({ ...job, phase: 'running' });
    this.#alarm.wakeFor(this.now() + FIRST_POLL_MS);
  }

  /** Counts what the inputs have come to: from now on there are results. */
  #end(job: Job, sums: Pick<Job, 'cost' | 'usage'>): void {
    const counts = { ...job.counts, labelled: 0, failed: 0 };
    for (let after = -1; ; ) {
      const page = this.#tables.partsAfter(after, RESULTS_AT_ONCE);
      for (const parts of page) counts[resultOfParts(parts, job).error ? 'failed' : 'labelled'] += 1;
      const last = page.at(-1);
      if (!last) break;
      after = last.n;
    }
    const url = job.deliverUrl ?? this.settings().BATCH_DELIVER_URL;
    const endedAt = this.now();
    const delivery = url === undefined ? {} : { delivery: { failures: 0, nextAt: endedAt } };
    this.#save({ ...job, ...sums, counts, phase: 'ended', endedAt, ...delivery });
    this.#alarm.wakeFor(endedAt);
  }

  async #deliver(job: Job): Promise<void> {
    const { delivery, deliverUrl: url, id, endedAt = 0 } = job;
    if (!delivery || this.now() < delivery.nextAt) return;
    const result: z.output<typeof classificationEnded> = {
      type: 'classification.ended',
      event_id: `evt_${id}`,
      created_at: new Date(endedAt).toISOString(),
      classification: this.#report(job),
    };
    const by = { settings: this.settings(), env: this.env, now: this.now() };
    const next = await tellEnd(result, { url, failures: delivery.failures }, by);
    if (!this.#job) return;
    const { delivery: _, ...rest } = this.#job;
    this.#save(next ? { ...rest, delivery: next } : rest);
  }

  /** Puts answers into the cache: those about which every vote has chosen. Another try may give the others a better one. */
  async #keepAnswers({ account, cacheSeconds, votes: asked, classifier }: Job): Promise<void> {
    if (cacheSeconds === 0) return;
    const page = this.#tables.unkept(KEPT_IN_AN_ALARM);
    await Promise.all(
      page.map(async ({ n, hash }) => {
        const votes = this.#tables.votesOf(n);
        const isWhole = votes.length === asked && votes.every((vote) => !('error' in vote));
        const answer = isWhole ? electedOf(votes, { classifier, votes: asked }) : undefined;
        if (answer) await keepAnswer(this.env.STORE, account, hash, answer, cacheSeconds);
      }),
    );
    if (!this.#job) return;
    this.#tables.noteKept(page.map(({ n }) => n));
    if (page.length > 0) this.#alarm.wakeFor(this.now());
  }

  #wakeForNext(): void {
    const job = this.#job;
    if (!job) return;
    const now = this.now();
    const age = now - job.createdAt;
    if (job.phase === 'running')
      this.#alarm.wakeFor(now + Math.min(LONGEST_POLL_MS, Math.max(FIRST_POLL_MS, age / 10)));
    else if (job.phase === 'ended') this.#alarm.wakeFor(job.delivery?.nextAt ?? (job.endedAt ?? now) + RESULTS_MS);
    else this.#alarm.wakeFor(job.touchedAt + JOB_MAKING_MS);
  }

  #report(job: Job): ClassificationReport {
    const { id, phase, version, model, counts, batch, cancelAt, usage, cost, createdAt, endedAt } = job;
    const ended = phase === 'ended';
    const time = (at: number) => new Date(at).toISOString();
    return {
      id,
      type: 'classification_batch',
      status: ended ? 'ended' : cancelAt === undefined ? 'in_progress' : 'canceling',
      classifier: version,
      model,
      counts: { ...counts, processing: ended ? 0 : counts.inputs },
      batch: batch ?? null,
      usage: ended ? (usage ?? noUsage()) : null,
      cost_usd: ended && cost !== undefined ? toUsd(cost) : null,
      created_at: time(createdAt),
      ended_at: endedAt === undefined ? null : time(endedAt),
      results_url: null,
    };
  }

  /** @returns the job, which is being made. @throws Error where it is not: it was given up, or erased */
  #touch(phase: 'taking' | 'sending'): Job {
    if (this.#job?.phase !== phase) throw new Error('This classification is not being made any more.');
    this.#job = { ...this.#job, touchedAt: this.now() };
    return this.#job;
  }

  #save(job: Job): void {
    this.#job = job;
    this.#tables.save(job);
  }

  async #batchState({ account, batch = '' }: Job): Promise<BatchState> {
    return await callBatch({ env: this.env, settings: this.settings(), account, id: batch }, (object) => object.read());
  }

  #placeOf({ account }: Job, id: string) {
    return { env: this.env, settings: this.settings(), account, id };
  }

  async #forget(): Promise<void> {
    const { id, account } = this.#job ?? {};
    if (id === undefined || account === undefined) return;
    await this.#callAccount(account, (object) => object.noteClassification(id, false));
    this.#job = undefined;
    await this.#deleteAll();
  }

  async #deleteAll(): Promise<void> {
    await this.ctx.storage.deleteAlarm();
    await this.ctx.storage.deleteAll();
    this.#alarm.fired();
  }

  async #callAccount(account: string, call: Parameters<typeof callAccount<void>>[1]): Promise<void> {
    await callAccount({ identity: { account }, accounts: this.env, settings: this.settings() }, call, 'persistent');
  }
}

function noUsage(): NonNullable<Job['usage']> {
  return { input_tokens: 0, output_tokens: 0, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
}
