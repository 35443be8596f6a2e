import { notFound } from '../../http/errors.ts';
import type { StoredKind } from '../../versions/find-stored.ts';
import { type Classifier, readClassifier } from './classifier.ts';

/** How classifiers are stored in versions. */
export const CLASSIFIERS: StoredKind<Classifier> = {
  kind: 'classifier',
  memoryBytes: 8 * 1024 * 1024,
  read: (bytes) => readClassifier(new TextDecoder().decode(bytes)),
  // An estimate: strings have at most two bytes a character, and objects need as much again.
  held: (_, bytes) => bytes * 4,
  unknown: (ref) =>
    notFound(
      `There is no classifier ${ref}. Store one with PUT /classifiers/:name, or list them with GET /classifiers.`,
    ),
};
