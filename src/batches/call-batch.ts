import type { Bindings } from '../durable/bindings.ts';
import { callObject, type Remote } from '../durable/call-object.ts';
import type { BatchClaimsObject, BatchObject } from '../durable/contracts/batch.ts';
import { batchStub, claimsStub } from '../durable/stubs.ts';
import type { Settings } from '../settings/settings.ts';

/** Says which batch of which account is called. */
export interface BatchPlace {
  env: Pick<Bindings, 'BATCH'>;
  settings: Settings;
  account: string;
  id: string;
}

/**
 * Calls the object of a batch, and again if the call was lost.
 *
 * @param persistence how long it is tried; see `callObject`
 * @throws ObjectUnreachable 503
 */
export async function callBatch<T>(
  place: BatchPlace,
  call: (batch: Remote<BatchObject>) => Promise<T>,
  persistence?: Parameters<typeof callObject>[2],
): Promise<T> {
  const { env, settings } = place;
  const callOnce = () => call(batchStub(env, settings, place) as unknown as Remote<BatchObject>);
  return await callObject('batch', callOnce, persistence);
}

/** Calls the claims on the batches of an upstream, and again if the call was lost. @throws ObjectUnreachable 503 */
export async function callClaims<T>(
  env: Pick<Bindings, 'BATCH_CLAIMS'>,
  settings: Settings,
  upstream: string | undefined,
  call: (claims: Remote<BatchClaimsObject>) => Promise<T>,
): Promise<T> {
  return await callObject('batch', () =>
    call(claimsStub(env, settings, upstream) as unknown as Remote<BatchClaimsObject>),
  );
}
