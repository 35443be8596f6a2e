import { encoder } from '../kit/http/bytes.ts';
import { admitVersionStorage } from '../money/admission/admit-free.ts';
import { readJsonToStore } from '../money/admission/read-body.ts';
import type { FoundVersion } from '../money/versions/kv-copies.ts';
import { createVersionedRoutes, toOwner } from '../registry/versions/versioned-routes.ts';
import { MAX_CLASSIFIER_BYTES, putClassifier } from './classifiers.schema.ts';
import { CLASSIFIERS, type StoredClassifier, storedClassifier } from './task/classifier.ts';

/** The routes of classifiers. An admin stores the deployment's, everybody else those of their account. */
export const CLASSIFIER_ROUTES = createVersionedRoutes({
  stored: CLASSIFIERS,
  scope: 'classify',
  schemas: putClassifier,
  maxBytes: MAX_CLASSIFIER_BYTES,
  readBody: async (c) => (await readJsonToStore(c, 'free')).json,
  write: (fields) => encoder.encode(JSON.stringify(storedClassifier(fields))),
  respond: (c, found) => c.json(toClassifierResponse(found)),
  createPutResponse: (_, version) => toClassifierResponse(version),
  admit: admitVersionStorage,
});

function toClassifierResponse({ name, hash, owner, value }: FoundVersion<StoredClassifier>) {
  return { type: CLASSIFIERS.kind, name, version: `${name}@${hash}`, owner: toOwner(owner), ...value };
}
