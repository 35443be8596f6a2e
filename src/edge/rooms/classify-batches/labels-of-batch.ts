import { keepAnswer, RECALLED_AT_ONCE, recallAnswers } from '../../kit/kv/kept-answers.ts';
import type { ClassificationReport } from '../../named/classify/classifications-answers.schema.ts';
import type { KeptAnswer } from '../../named/classify/classify-answers.schema.ts';
import type { BatchLabels, BatchRecord } from '../batches/batch-record.ts';
import type { LabelMethods, ResultPage, TakenInput } from './contracts/classification.ts';
import { countOutcomes, electedOf, LabelWriter, resultPage, shownLabels } from './label-results.ts';
import { LabelTables } from './label-tables.ts';

/** How many writes of KV one alarm makes. */
const KEPT_IN_AN_ALARM = 500;
/** If the store fails, they are kept after this time. Milliseconds. */
const KEEP_AGAIN_MS = 30_000;

/** What a classification by batch has in the object of its batch: its rows, what is said of it, and its answers for the cache. */
export class LabelsOfBatch implements BatchLabels {
  readonly #batch: BatchRecord;
  readonly #tables: LabelTables;
  /** Answers on their way into the cache. */
  #keeping: Promise<unknown> = Promise.resolve();
  readonly methods = {
    recall: (account, hashes) => this.#recall(account, hashes),
    take: (from, inputs) => this.#take(from, inputs),
    results: (after) => this.#results(after),
  } satisfies LabelMethods;

  constructor(batch: BatchRecord) {
    this.#batch = batch;
    this.#tables = new LabelTables(batch.storage);
  }

  begin(): void {
    if (this.#labels) this.#tables.begin();
  }

  clear(): void {
    if (this.#labels) this.#tables.clear();
  }

  report(): ClassificationReport | undefined {
    const { journal } = this.#batch;
    if (!journal?.labels) return undefined;
    const { id, phase, labels, labelled, usage, cost, createdAt, cancelAt, endedAt } = journal;
    const counts = { ...labels.counts, ...labelled };
    return shownLabels({
      ...{ ...labels, id: id.replace('msgbatch_', 'clsbatch_'), batch: id, isEnded: phase === 'ended', counts },
      ...{ usage, cost, createdAt, cancelAt, endedAt },
    });
  }

  writer(): LabelWriter | undefined {
    const labels = this.#labels;
    return (
      labels &&
      new LabelWriter(labels, (votes) => {
        if (this.#isThere) this.#tables.addVotes(votes);
      })
    );
  }

  async count() {
    const { phase, labels } = this.#batch.journal ?? {};
    return labels && (await countOutcomes(this.#tables, labels, () => this.#batch.journal?.phase !== phase));
  }

  /** Caches the answers for which every vote was valid. For the others, another try may give a better answer. */
  async keep(): Promise<void> {
    const { phase, account, labels, isErased } = this.#batch.journal ?? {};
    if (phase !== 'ended' || account === undefined || !labels || labels.cacheSeconds === 0 || isErased) return;
    const page = this.#tables.unkept(KEPT_IN_AN_ALARM);
    if (page.length === 0) return;
    this.#batch.wakeIn(KEEP_AGAIN_MS);
    const keeping = Promise.all(
      page.map(async ({ n, hash }) => {
        const votes = this.#tables.votesOf(n);
        const isWhole = votes.length === labels.votes && votes.every((vote) => !('error' in vote));
        const answer = isWhole ? electedOf(votes, labels) : undefined;
        if (answer) await keepAnswer(this.#batch.env.STORE, account, hash, answer, labels.cacheSeconds);
      }),
    );
    this.#keeping = keeping.catch(() => {});
    await keeping;
    if (!this.#isThere) return;
    this.#tables.noteKept(page.map(({ n }) => n));
    this.#batch.wakeIn(0);
  }

  kept(): Promise<unknown> {
    return this.#keeping;
  }

  async #recall(account: string, hashes: string[]): Promise<[string, KeptAnswer][]> {
    const known: [string, KeptAnswer][] = [];
    for (let from = 0; from < hashes.length; from += RECALLED_AT_ONCE) {
      const some = hashes.slice(from, from + RECALLED_AT_ONCE);
      known.push(...(await recallAnswers<KeptAnswer>(this.#batch.env.STORE, account, some)));
    }
    return known;
  }

  #take(from: number, inputs: TakenInput[]): void {
    if (this.#batch.journal?.phase !== 'prepared') throw new Error('It is not prepared.');
    this.#tables.add(from, inputs);
  }

  #results(after: number): ResultPage {
    const labels = this.#labels;
    if (this.#batch.journal?.phase !== 'ended' || !labels || !this.#isThere) throw new Error('No results.');
    return resultPage(this.#tables, after, labels);
  }

  get #labels() {
    return this.#batch.journal?.labels;
  }

  /** Whether it was not erased meanwhile. */
  get #isThere(): boolean {
    const { journal } = this.#batch;
    return journal !== undefined && !journal.isErased;
  }
}
