import { callerOf } from '../durable/call-object.ts';
import type { BatchClaimsObject, BatchObject } from '../durable/contracts/batch.ts';
import { batchStub, claimsStub, type ObjectPlace } from '../durable/stubs.ts';

/** Says which batch of which account is called. */
export type BatchPlace = ObjectPlace<'BATCH'>;

/** Calls the object of a batch, and again if the call was lost. @throws ObjectUnreachable 503 */
export const callBatch = callerOf<BatchPlace, BatchObject>('batch', (place) =>
  batchStub(place.env, place.settings, place),
);

/** Calls the claims on the batches of an upstream, and again if the call was lost. @throws ObjectUnreachable 503 */
export const callClaims = callerOf<
  Pick<ObjectPlace<'BATCH_CLAIMS'>, 'env' | 'settings'> & { upstream: string | undefined },
  BatchClaimsObject
>('batch', ({ env, settings, upstream }) => claimsStub(env, settings, upstream));
