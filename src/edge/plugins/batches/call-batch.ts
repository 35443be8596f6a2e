import { createRetryingObjectCaller } from '../../durable/call-object.ts';
import { getBatchStub, type OwnedObjectKey } from '../../durable/stubs.ts';
import type { BatchObject } from './contracts/batch.ts';

/** Says which batch of which account is called. */
export type BatchKey = OwnedObjectKey<'BATCH'>;

/** Calls the object of a batch, and again if the call was lost. @throws ObjectUnreachableError 503 */
export const callBatch = createRetryingObjectCaller<BatchKey, BatchObject>('batch', (place) =>
  getBatchStub(place.env, place.settings, place),
);
