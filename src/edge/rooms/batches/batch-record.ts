import type { Surroundings } from '../../kit/objects/edge-object.ts';
import { ObjectRecord } from '../../kit/objects/object-record.ts';
import type { BatchState } from './contracts/batch.ts';
import { type Journal, stateOf } from './journal.ts';
import { UpstreamBatches } from './upstream-batches.ts';

/** Keeps the journal of one batch, and calls the others that its object needs. */
export class BatchRecord extends ObjectRecord<Journal> {
  constructor(storage: DurableObjectStorage, around: Surroundings) {
    super(storage, around, 'batch');
  }

  /** The upstream's side of the batch. */
  get calls(): UpstreamBatches {
    const { upstream: name, headers = {} } = this.journal ?? {};
    return new UpstreamBatches(this.around.upstream(), this.settings, { name, headers });
  }

  /** What other objects get to know about it. */
  get state(): BatchState {
    return stateOf(this.journal, this.now);
  }

  wakeIn(milliseconds: number): void {
    this.around.alarm.wakeFor(this.now + milliseconds);
  }
}
