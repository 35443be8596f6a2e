import type { Bindings } from '../durable/bindings.ts';
import { callObject, type Remote } from '../durable/call-object.ts';
import type { ClassificationObject } from '../durable/contracts/classification.ts';
import { classificationStub } from '../durable/stubs.ts';
import type { Settings } from '../settings/settings.ts';

/** Whose object of which classification is called. */
export interface ClassificationPlace {
  env: Pick<Bindings, 'CLASSIFICATION'>;
  settings: Settings;
  account: string;
  id: string;
}

/** Calls the object of a classification by batch, and again if the call was lost. @throws ObjectUnreachable 503 */
export async function callClassification<T>(
  place: ClassificationPlace,
  call: (job: Remote<ClassificationObject>) => Promise<T>,
): Promise<T> {
  const { env, settings } = place;
  return await callObject('classification', () =>
    call(classificationStub(env, settings, place) as unknown as Remote<ClassificationObject>),
  );
}
