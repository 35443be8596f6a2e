import { encoder } from '../kit/http/bytes.ts';
import { admitVersionStorageRequest } from '../money/admission/admit-free.ts';
import { readJsonBodyToStore } from '../money/admission/read-body.ts';
import type { FoundVersion } from '../money/versions/kv-copies.ts';
import { createVersionedRoutes, toOwnerField } from '../registry/versions/versioned-routes.ts';
import { MAX_CLASSIFIER_BYTES, putClassifier } from './classifiers.schema.ts';
import { CLASSIFIERS, type StoredClassifier, toStoredClassifier } from './task/classifier.ts';

/** The routes of classifiers. An admin stores the deployment's, everybody else those of their account. */
export const CLASSIFIER_ROUTES = createVersionedRoutes({
  stored: CLASSIFIERS,
  scope: 'classify',
  schemas: putClassifier,
  maxBytes: MAX_CLASSIFIER_BYTES,
  readPutBody: async (c) => (await readJsonBodyToStore(c, 'free')).json,
  serializeVersion: (fields) => encoder.encode(JSON.stringify(toStoredClassifier(fields))),
  createGetResponse: (c, found) => c.json(toClassifierResponse(found)),
  createPutResponse: (_, version) => toClassifierResponse(version),
  admitPut: admitVersionStorageRequest,
});

function toClassifierResponse({ name, hash, owner, value }: FoundVersion<StoredClassifier>) {
  return { type: CLASSIFIERS.kind, name, version: `${name}@${hash}`, owner: toOwnerField(owner), ...value };
}
