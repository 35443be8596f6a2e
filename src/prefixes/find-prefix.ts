/** Finds prefixes: in the isolate's memory, in KV, and in the objects of their owners. */

import { type ApiError, notFound } from '../http/errors.ts';
import { findStored, type StoredKind, type StoredReader } from '../versions/find-stored.ts';
import type { Found } from '../versions/kv-copies.ts';
import type { VersionRef } from '../versions/versions.schema.ts';
import { type Prefix, readPrefix } from './prefix.ts';

export const PREFIX_KIND = 'prefix';
/** How prefixes are stored in versions. */
export const PREFIXES: StoredKind<Prefix> = {
  kind: PREFIX_KIND,
  read: readPrefix,
  held: ({ held }) => held,
  unknown: unknownPrefix,
};

/** Who looks for a prefix, and where. */
export type PrefixReader = StoredReader;

/**
 * Finds a prefix for an account: first its own, then the deployment's, never another account's.
 *
 * @throws ApiError 503 while neither KV nor the owner's object can be reached
 */
export async function findPrefix(
  reader: PrefixReader,
  ref: string | VersionRef,
  owners?: readonly string[],
): Promise<Found<Prefix> | undefined> {
  return await findStored(PREFIXES, reader, ref, owners);
}

/** @returns the 404 for an unknown name or version */
export function unknownPrefix(ref: string): ApiError {
  return notFound(`There is no prefix ${ref}. Store one with PUT /prefixes/:name, or list them with GET /prefixes.`);
}
