import type { Surroundings } from '../../kit/objects/edge-object.ts';
import { ObjectRecord, RECORD_TABLE } from '../../kit/objects/object-record.ts';
import type { Journal } from './journal.ts';
import { LabelTables } from './label-tables.ts';
import { UpstreamBatches } from './upstream-batches.ts';

/** Keeps the journal of one batch, and calls the others that its object needs. */
export class BatchRecord extends ObjectRecord<Journal> {
  /** The rows of its inputs and labels, if it is a classification. */
  readonly labels: LabelTables;

  constructor(storage: DurableObjectStorage, around: Surroundings) {
    super(storage, around, { name: 'batch', format: 'batch', migrations: [{ version: 1, sql: RECORD_TABLE }] });
    this.labels = new LabelTables(storage);
    const { phase, isGuess } = this.journal ?? {};
    // The last release went on searching, and took a guess for an answer.
    if (phase === 'lost' || isGuess)
      this.change({ phase: 'unknown', upstreamId: undefined, isGuess: undefined, isReported: false });
  }

  /** The upstream's side of the batch. */
  get calls(): UpstreamBatches {
    const { upstream: name, headers = {} } = this.journal ?? {};
    return new UpstreamBatches(this.around.upstream(), this.settings, { name, headers });
  }
}
