import { ApiError } from '../../kit/http/errors.ts';
import { callerOf } from '../../kit/objects/call-object.ts';
import { classificationStub, type ObjectPlace } from '../../kit/objects/stubs.ts';
import { type BatchPlace, callBatch } from '../batches/call-batch.ts';
import type { ClassificationObject, LabelMethods } from './contracts/classification.ts';

/** Calls the object of a classification by batch, and again if the call was lost. @throws ObjectUnreachable 503 */
export const callClassification = callerOf<ObjectPlace<'CLASSIFICATION'>, ClassificationObject>(
  'classification',
  (place) => classificationStub(place.env, place.settings, place),
);

/** Calls what a batch of labels has in its object. @throws ApiError 503; 409 where the object is without that room */
export async function callLabels<Name extends keyof LabelMethods>(
  place: BatchPlace,
  method: Name,
  ...args: Parameters<LabelMethods[Name]>
): Promise<Awaited<ReturnType<LabelMethods[Name]>>> {
  const result = await callBatch(place, (batch) => batch.part(method, ...args));
  // `part` hands on what the method returns.
  if (result.ok) return result.value as Awaited<ReturnType<LabelMethods[Name]>>;
  throw new ApiError(result.error.type, result.error.message, result.error);
}
