/** Where requests find classifiers: in the isolate's memory, in KV, and in the objects of those who have stored them. */

import { type ApiError, notFound } from '../../http/errors.ts';
import { findStored, type StoredKind, type StoredReader } from '../../versions/find-stored.ts';
import type { Found } from '../../versions/kv-copies.ts';
import type { VersionRef } from '../../versions/versions.schema.ts';
import { type Classifier, readClassifier } from './classifier.ts';

export const CLASSIFIERS: StoredKind<Classifier> = {
  kind: 'classifier',
  memoryBytes: 8 * 1024 * 1024,
  read: (bytes) => readClassifier(new TextDecoder().decode(bytes)),
  // Its strings, of two bytes a character at the most, and what lies around them.
  held: (_, bytes) => bytes * 4,
  unknown: unknownClassifier,
};

/**
 * Finds a classifier as an account sees it: its own before the deployment's, and nobody else's.
 *
 * @throws ApiError 503 while neither KV nor the owner's object can be asked
 */
export async function findClassifier(
  reader: StoredReader,
  ref: string | VersionRef,
  owners?: readonly string[],
): Promise<Found<Classifier> | undefined> {
  return await findStored(CLASSIFIERS, reader, ref, owners);
}

/** @returns the 404 for a name or a version that there is not. */
export function unknownClassifier(ref: string): ApiError {
  return notFound(
    `There is no classifier ${ref}. Store one with PUT /classifiers/:name, or list them with GET /classifiers.`,
  );
}
