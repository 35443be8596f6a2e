/** Finds stored versions (prefixes, classifiers, agents): in the isolate's memory, in KV, or in their owner's object. */

import { getOrMake } from '../cache/get-or-make.ts';
import { callAccount } from '../durable/call-account.ts';
import type { AccountBinding } from '../durable/stubs.ts';
import type { ApiError } from '../http/errors.ts';
import { DEPLOYMENT } from '../identity/identity.ts';
import type { Settings } from '../settings/settings.ts';
import { type Found, findVersion, VersionMemory, type VersionSource } from './kv-copies.ts';
import { parseRef, type VersionRef } from './versions.schema.ts';

/** One kind of stored things: its name in keys and rows, and how its text is read. */
export interface StoredKind<T> extends Pick<VersionSource<T>, 'kind' | 'read' | 'held'> {
  /** How many bytes of it an isolate remembers. Default: that of `VersionMemory`. */
  memoryBytes?: number;
  /** @returns the 404 for a name or a version that does not exist. */
  unknown(ref: string): ApiError;
}

/** The account that looks for something, and where it is stored. */
export interface StoredReader {
  account: string;
  accounts: AccountBinding;
  store: KVNamespace;
  settings: Settings;
}

/** The memories, by deployment and the name of the kind. */
const memories = new WeakMap<Settings, Map<string, unknown>>();

/** @returns this isolate's memory of a deployment's versions of a kind. */
export function memoryOf<T>(kind: StoredKind<T>, settings: Settings): VersionMemory<T> {
  const kinds = getOrMake(memories, settings, () => new Map<string, unknown>());
  return getOrMake(kinds, kind.kind, () => new VersionMemory<T>(kind.memoryBytes)) as VersionMemory<T>;
}

/**
 * Finds what an account means by a name or a version: its own before the deployment's, and nobody else's.
 *
 * @throws ApiError 503 while neither KV nor the owner's object can be asked
 */
export async function findStored<T>(
  kind: StoredKind<T>,
  { account, accounts, store, settings }: StoredReader,
  ref: string | VersionRef,
  owners: readonly string[] = [account, DEPLOYMENT],
): Promise<Found<T> | undefined> {
  const parsed = typeof ref === 'string' ? parseRef(ref) : ref;
  if (!parsed) return undefined;
  return await findVersion(
    {
      ...kind,
      store,
      memory: memoryOf(kind, settings),
      owners,
      ask: ({ kind, owner, name }, hash) =>
        callAccount({ identity: { account: owner }, accounts, settings }, (object) =>
          object.readVersion({ kind, name, hash }),
        ),
    },
    parsed,
  );
}

/** Finds the same as `findStored`. @throws ApiError 404 for what does not exist, 503 while it cannot be asked for */
export async function requireStored<T>(
  kind: StoredKind<T>,
  reader: StoredReader,
  ref: string,
  owners?: readonly string[],
): Promise<Found<T>> {
  const found = await findStored(kind, reader, ref, owners);
  if (!found) throw kind.unknown(ref);
  return found;
}
