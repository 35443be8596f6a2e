/** Where requests find prefixes. */

import { type ApiError, notFound } from '../http/errors.ts';
import { findStored, type StoredKind, type StoredReader } from '../versions/find-stored.ts';
import type { Found } from '../versions/kv-copies.ts';
import type { VersionRef } from '../versions/versions.schema.ts';
import { type Prefix, readPrefix } from './prefix.ts';

export const PREFIX_KIND = 'prefix';
export const PREFIXES: StoredKind<Prefix> = {
  kind: PREFIX_KIND,
  read: readPrefix,
  held: ({ held }) => held,
  unknown: unknownPrefix,
};

/** Who looks for a prefix, and where. */
export type PrefixReader = StoredReader;

/**
 * Finds a prefix as an account sees it: its own before the deployment's, and nobody else's.
 *
 * @throws ApiError 503 while neither KV nor the owner's object can be asked
 */
export async function findPrefix(
  reader: PrefixReader,
  ref: string | VersionRef,
  owners?: readonly string[],
): Promise<Found<Prefix> | undefined> {
  return await findStored(PREFIXES, reader, ref, owners);
}

/** @returns the 404 for a name or a version that there is not. */
export function unknownPrefix(ref: string): ApiError {
  return notFound(`There is no prefix ${ref}. Store one with PUT /prefixes/:name, or list them with GET /prefixes.`);
}
