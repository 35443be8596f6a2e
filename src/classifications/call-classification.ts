import { callerOf } from '../durable/call-object.ts';
import type { ClassificationObject } from '../durable/contracts/classification.ts';
import { classificationStub, type ObjectPlace } from '../durable/stubs.ts';

/** Says which classification of which account is called. */
export type ClassificationPlace = ObjectPlace<'CLASSIFICATION'>;

/** Calls the object of a classification by batch, and again if the call was lost. @throws ObjectUnreachable 503 */
export const callClassification = callerOf<ClassificationPlace, ClassificationObject>('classification', (place) =>
  classificationStub(place.env, place.settings, place),
);
