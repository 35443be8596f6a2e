import { callerOf } from '../../kit/objects/call-object.ts';
import { classificationStub, type ObjectPlace } from '../../kit/objects/stubs.ts';
import type { ClassificationObject } from './contracts/classification.ts';

/** Calls the object of a classification by batch, and again if the call was lost. @throws ObjectUnreachable 503 */
export const callClassification = callerOf<ObjectPlace<'CLASSIFICATION'>, ClassificationObject>(
  'classification',
  (place) => classificationStub(place.env, place.settings, place),
);
