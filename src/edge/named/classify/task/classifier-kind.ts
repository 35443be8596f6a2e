import type { StoredKind } from '../../versions/find-stored.ts';
import { type Classifier, readClassifier } from './classifier.ts';

export const CLASSIFIERS: StoredKind<Classifier, '/classifiers'> = {
  kind: 'classifier',
  path: '/classifiers',
  memoryBytes: 8 * 1024 * 1024,
  read: (bytes) => readClassifier(new TextDecoder().decode(bytes)),
  // An estimate: strings have at most two bytes a character, and objects need as much again.
  memorySize: (_, bytes) => bytes * 4,
};
