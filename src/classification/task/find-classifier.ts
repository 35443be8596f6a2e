/** Finds classifiers: in the isolate's memory, in KV, and in the objects of their owners. */

import { type ApiError, notFound } from '../../http/errors.ts';
import { findStored, type StoredKind, type StoredReader } from '../../versions/find-stored.ts';
import type { Found } from '../../versions/kv-copies.ts';
import type { VersionRef } from '../../versions/versions.schema.ts';
import { type Classifier, readClassifier } from './classifier.ts';

/** How classifiers are stored in versions. */
export const CLASSIFIERS: StoredKind<Classifier> = {
  kind: 'classifier',
  memoryBytes: 8 * 1024 * 1024,
  read: (bytes) => readClassifier(new TextDecoder().decode(bytes)),
  // An estimate: strings have at most two bytes a character, and objects need as much again.
  held: (_, bytes) => bytes * 4,
  unknown: unknownClassifier,
};

/**
 * Finds a classifier for an account: first its own, then the deployment's, never another account's.
 *
 * @throws ApiError 503 while neither KV nor the owner's object can be reached
 */
export async function findClassifier(
  reader: StoredReader,
  ref: string | VersionRef,
  owners?: readonly string[],
): Promise<Found<Classifier> | undefined> {
  return await findStored(CLASSIFIERS, reader, ref, owners);
}

/** @returns the 404 for an unknown name or version */
export function unknownClassifier(ref: string): ApiError {
  return notFound(
    `There is no classifier ${ref}. Store one with PUT /classifiers/:name, or list them with GET /classifiers.`,
  );
}
