import { callerOf } from '../../durable/call-object.ts';
import { batchStub, type ObjectPlace } from '../../durable/stubs.ts';
import type { BatchObject } from './contracts/batch.ts';

/** Says which batch of which account is called. */
export type BatchPlace = ObjectPlace<'BATCH'>;

/** Calls the object of a batch, and again if the call was lost. @throws ObjectUnreachable 503 */
export const callBatch = callerOf<BatchPlace, BatchObject>('batch', (place) =>
  batchStub(place.env, place.settings, place),
);
