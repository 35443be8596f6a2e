/** What a batch's object has of the room that makes batches of labels. */

import type { Json } from '../../kit/json/object.ts';
import type { Bindings } from '../../kit/objects/bindings.ts';
import { seam } from '../../kit/rooms/rooms.ts';
import type { ClassificationReport } from '../../named/classify/classifications-answers.schema.ts';
import type { ClassifyUsage } from '../../named/classify/classify-answers.schema.ts';
import type { Journal } from './journal.ts';

/** The room without which a batch of labels is a batch like any other: it is paid for, and its labels are refused. */
export const LABELS_ROOM = 'classify-batches';

/** A batch, as that room sees it. */
export interface LabelledBatch {
  /** As it is now: it may change in each wait. */
  readonly journal: Journal | undefined;
  readonly storage: DurableObjectStorage;
  readonly env: Bindings;
  wakeIn(milliseconds: number): void;
}

/** A method as the room types it: its arguments come from a call of the object. */
interface CalledByName {
  call(...args: readonly unknown[]): unknown;
}

/** What the room does for a batch of labels. For any other it does nothing. */
export interface BatchLabels {
  /** Makes its rows. */
  begin(): void;
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
export const BATCH_LABELS = seam<(batch: LabelledBatch) => BatchLabels>()('batchLabels');
