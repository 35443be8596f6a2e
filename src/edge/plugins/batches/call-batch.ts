import { createRetryingObjectCaller } from '../../durable/call-object.ts';
import { getBatchStub, type OwnedObjectKey } from '../../durable/stubs.ts';
import type { BatchObject } from './contracts/batch.ts';

/** The account and the id of a batch. */
export type BatchKey = OwnedObjectKey<'BATCH'>;

/** Calls the object of a batch, and again if the call was lost. @throws ObjectUnreachableError 503 */
export const callBatch = createRetryingObjectCaller<BatchKey, BatchObject>('batch', (place) =>
  getBatchStub(place.env, place.settings, place),
);
