import type { Json } from '../../kit/json/object.ts';
import type { Surroundings } from '../../kit/objects/edge-object.ts';
import { ObjectRecord } from '../../kit/objects/object-record.ts';
import { pluggedOne, singleSeam } from '../../kit/rooms/rooms.ts';
import type { ClassificationReport } from '../../named/classify/classifications-answers.schema.ts';
import type { ClassifyUsage } from '../../named/classify/classify-answers.schema.ts';
import type { BatchState } from './contracts/batch.ts';
import { type Journal, stateOf } from './journal.ts';
import { UpstreamBatches } from './upstream-batches.ts';

/** A method as the room types it: its arguments come from a call of the object. */
interface CalledByName {
  call(...args: readonly unknown[]): unknown;
}

/** What the room does for a batch of labels. For any other it does nothing. */
export interface BatchLabels {
  /** Makes its rows. */
  begin(): void;
  /** Deletes its rows. */
  clear(): void;
  /** @returns the batch as a classification */
  report(): ClassificationReport | undefined;
  /** @returns what takes each result, and at the end says what the answers have used */
  writer(): { add(line: Json): void; end(): ClassifyUsage } | undefined;
  /** Counts what has become of the inputs. */
  count(): Promise<Journal['labelled']>;
  /** Caches some of the answers, and wakes the object for more. */
  keep(): Promise<void>;
  /** Waits for answers on their way into the cache. */
  kept(): Promise<unknown>;
  /** What is called by `part` of the object, by name. */
  readonly methods: Readonly<Record<string, CalledByName['call']>>;
}
export const BATCH_LABELS = singleSeam<(batch: BatchRecord) => BatchLabels>()('batchLabels');

/** Keeps the journal of one batch, and calls the others that its object needs. */
export class BatchRecord extends ObjectRecord<Journal> {
  readonly storage: DurableObjectStorage;
  /** What the room of labels does for it; undefined in a Worker without that room. */
  readonly labels: BatchLabels | undefined;

  constructor(storage: DurableObjectStorage, around: Surroundings) {
    super(storage, around, 'batch');
    this.storage = storage;
    this.labels = pluggedOne(BATCH_LABELS)?.(this);
  }

  /** The upstream's side of the batch. */
  get calls(): UpstreamBatches {
    const { upstream: name, headers = {} } = this.journal ?? {};
    return new UpstreamBatches(this.around.upstream(), this.settings, { name, headers });
  }

  /** What other objects get to know about it. */
  get state(): BatchState {
    const state = stateOf(this.journal, this.now);
    if (state.kind !== 'known' || !state.isSent || !this.journal?.labels) return state;
    return { ...state, classification: this.labels?.report() };
  }

  wakeIn(milliseconds: number): void {
    this.around.alarm.wakeFor(this.now + milliseconds);
  }
}
