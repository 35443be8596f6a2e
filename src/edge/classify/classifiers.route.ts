import { encoder } from '../kit/http/bytes.ts';
import { admitStoring } from '../money/admission/admit-free.ts';
import { readToStore } from '../money/admission/read-body.ts';
import type { Found } from '../money/versions/kv-copies.ts';
import { namedRoutes, ownerName } from '../registry/versions/named-routes.ts';
import { MAX_CLASSIFIER_BYTES, putClassifier } from './classifiers.schema.ts';
import { CLASSIFIERS, type StoredClassifier, storedClassifier } from './task/classifier.ts';

/** The routes of classifiers. An admin stores the deployment's, everybody else those of their account. */
export const CLASSIFIER_ROUTES = namedRoutes({
  stored: CLASSIFIERS,
  scope: 'classify',
  schemas: putClassifier,
  maxBytes: MAX_CLASSIFIER_BYTES,
  readBody: async (c) => (await readToStore(c, 'free')).json,
  write: (fields) => encoder.encode(JSON.stringify(storedClassifier(fields))),
  show: (c, found) => c.json(classifierAnswerOf(found)),
  answerPut: (_, version) => classifierAnswerOf(version),
  admit: admitStoring,
});

function classifierAnswerOf({ name, hash, owner, value }: Found<StoredClassifier>) {
  return { type: CLASSIFIERS.kind, name, version: `${name}@${hash}`, owner: ownerName(owner), ...value };
}
