import { fromUsd, type Nanodollars } from '../../claude/pricing/cost.ts';
import { DAY_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import { deliverEnd, firstDelivery, type PendingDelivery } from '../../kit/delivery/deliver-event.ts';
import { parseObject } from '../../kit/json/object.ts';
import type { Bindings } from '../../kit/objects/bindings.ts';
import { EdgeObject } from '../../kit/objects/edge-object.ts';
import { ObjectRecord, RECORD_TABLE } from '../../kit/objects/object-record.ts';
import type { ClassificationEnded, ClassificationReport } from '../../named/classify/classifications-answers.schema.ts';
import { callBatch } from '../batches/call-batch.ts';
import type { BatchState, UpstreamBatch } from '../batches/contracts/batch.ts';
import { RESULTS_MS } from '../batches/journal.ts';
import { resultLines } from '../batches/read-results.ts';
import { isUnknownThere, UpstreamBatches } from '../batches/upstream-batches.ts';
import type { ClassificationObject, LabelCounts, LabelTask, ResultPage } from './contracts/classification.ts';
import { countOutcomes, LabelWriter, resultPage, shownLabels } from './label-results.ts';
import { LabelTables } from './label-tables.ts';

/** A request that was making one is dead when it is silent for this time. */
const JOB_MAKING_MS = 5 * MINUTE_MS;
const JOB_POLL_MS = MINUTE_MS;

/** The journal of the last release. Times are in milliseconds since 1970. */
interface Job extends LabelTask {
  id: string;
  account: string;
  batch: string;
  model: string;
  version: string | null;
  phase: 'taking' | 'sending' | 'running' | 'ended';
  createdAt: number;
  /** When its maker was last active. */
  touchedAt: number;
  counts: LabelCounts & { labelled: number; failed: number };
  deliverUrl?: string | undefined;
  cancelAt?: number;
  endedAt?: number;
  usage?: ClassificationReport['usage'];
  cost?: Nanodollars;
  delivery?: PendingDelivery;
}

/**
 * Is left of the object that a classification by batch had in the last release. It brings to its end what runs, and has the
 * results for as long as they were promised. None is begun here any more, and the next release deletes the class.
 *
 * @example export { ClassificationJob } from 'sluice';
 */
export class ClassificationJob extends EdgeObject implements ClassificationObject {
  readonly #record: ObjectRecord<Job>;
  readonly #tables: LabelTables;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    const migrations = [{ version: 1, sql: RECORD_TABLE }];
    this.#record = new ObjectRecord(ctx.storage, this.around, {
      name: 'classification',
      format: 'classification_batch',
      migrations,
    });
    this.#tables = new LabelTables(ctx.storage);
  }

  read(): ClassificationReport | undefined {
    const job = this.#job;
    if (!job || job.phase === 'taking' || job.phase === 'sending') return undefined;
    if (job.phase === 'running') this.around.alarm.wakeFor(this.now());
    return shownLabels({ ...job, isEnded: job.phase === 'ended' });
  }

  results(after: number): ResultPage {
    const job = this.#job;
    if (job?.phase !== 'ended') throw new Error('No results.');
    return resultPage(this.#tables, after, job);
  }

  async cancel(): Promise<ClassificationReport | undefined> {
    const job = this.#job;
    if (job?.phase === 'running') {
      await callBatch(this.#placeOf(job), (batch) => batch.cancel());
      if (this.#job?.phase === 'running') this.#record.change({ cancelAt: job.cancelAt ?? this.now() });
    }
    return this.read();
  }

  async erase(): Promise<void> {
    await this.#record.forget();
  }

  /** Does the work that is due. It never throws, and sets the alarm again while anything is open. */
  override async alarm(): Promise<void> {
    this.around.alarm.fired();
    await this.#record.try(() => this.#work());
    const { phase, delivery, endedAt = 0 } = this.#job ?? {};
    const next = phase === 'ended' ? (delivery?.nextAt ?? endedAt + RESULTS_MS) : 0;
    if (this.#job) this.around.alarm.wakeFor(Math.max(next, this.now() + JOB_POLL_MS));
  }

  async #work(): Promise<void> {
    const job = this.#job;
    if (!job) return await this.#record.forget();
    if (job.phase !== 'ended') return await this.#poll(job);
    await deliverEnd<ClassificationEnded>(this.#record, 'classification.ended', () => ({
      classification: shownLabels({ ...job, isEnded: true }),
    }));
    if (this.now() >= (job.endedAt ?? 0) + RESULTS_MS) await this.#forget(job);
  }

  /** Looks at the batch. Where its maker has not said so, it may have been made all the same. */
  async #poll(job: Job): Promise<void> {
    const state: BatchState = await callBatch(this.#placeOf(job), (batch) => batch.read());
    const isRunning = job.phase === 'running';
    if (!isRunning && !(state.kind === 'known' && state.isSent)) {
      if (this.now() >= job.touchedAt + JOB_MAKING_MS) await this.#forget(job);
      return;
    }
    if (!isRunning) this.#record.change({ phase: 'running' });
    // The batch was deleted before its results were read. Its inputs then say so.
    if (state.kind !== 'known') return await this.#end({});
    const { batch, upstream } = state;
    if (batch.processing_status !== 'ended') return;
    const usage = batch.results_url === null || !upstream ? undefined : await this.#readVotes(job, upstream, batch);
    await this.#end({ cost: fromUsd(batch.cost_usd ?? 0), ...(usage ? { usage } : {}) });
  }

  /** Reads the results of the batch. @returns undefined if the upstream has not had them for a day */
  async #readVotes(
    job: Job,
    upstream: UpstreamBatch,
    { ended_at }: { ended_at: string | null },
  ): Promise<Job['usage']> {
    const writer = new LabelWriter(job, (votes) => {
      if (this.#job?.phase === 'running') this.#tables.addVotes(votes);
    });
    try {
      const answered = await new UpstreamBatches(this.upstream(), this.settings(), upstream).results(upstream.id);
      for await (const bytes of resultLines(answered)) {
        const line = parseObject(bytes);
        if (line) writer.add(line);
      }
      return writer.end();
    } catch (thrown) {
      if (isUnknownThere(thrown) && this.now() > Date.parse(ended_at ?? '') + DAY_MS) return undefined;
      throw thrown;
    }
  }

  /** Counts the outcomes of the inputs. From then on there are results. */
  async #end(sums: Pick<Job, 'cost' | 'usage'>): Promise<void> {
    const isOver = () => this.#job?.phase !== 'running';
    const labelled = this.#job && (await countOutcomes(this.#tables, this.#job, isOver));
    const job = this.#job;
    // It was ended or deleted meanwhile.
    if (!job || isOver()) return;
    const counts = { ...job.counts, ...labelled };
    this.#record.change({ ...sums, counts, phase: 'ended', endedAt: this.now(), ...firstDelivery(this.#record) });
  }

  get #job(): Job | undefined {
    return this.#record.journal;
  }

  #placeOf({ account, batch }: Job) {
    return { env: this.env, settings: this.settings(), account, id: batch };
  }

  /** Reports to the account and deletes everything. */
  async #forget({ id }: Job): Promise<void> {
    await this.#record.account((account) => account.noteClassification(id, false));
    await this.#record.forget();
  }
}
