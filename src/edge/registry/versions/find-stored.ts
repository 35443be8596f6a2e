/** Finds stored versions (prefixes, classifiers, agents): in the isolate's memory, in KV, or in their owner's object. */

import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import type { Settings } from '../../config/settings.ts';
import { getOrMake } from '../../kit/cache/get-or-make.ts';
import { type ApiError, notFound } from '../../kit/http/errors.ts';
import { parseRef, type VersionRef } from '../../kit/kv/version-ref.ts';
import type { AccountBinding } from '../../kit/plugins/bindings.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import {
  type Found,
  findPointer,
  findValue,
  findVersion,
  VersionMemory,
  type VersionPlace,
  type VersionRights,
  type VersionSource,
  withdrawn,
} from '../../money/versions/kv-copies.ts';

/** One kind of stored things: its name in keys and rows, and how its text is read. */
export interface StoredKind<T, Path extends string = string>
  extends Pick<VersionSource<T>, 'kind' | 'read' | 'memorySize'> {
  /** How many bytes of it an isolate remembers. Default: that of `VersionMemory`. */
  memoryBytes?: number;
  /** The path of its routes: `/prefixes`. */
  path: Path;
}

/** The deployment in which something is stored. */
export interface StoredPlace {
  accounts: AccountBinding;
  store: KVNamespace;
  settings: Settings;
}

/** The account that looks for something, what it may do, and where it is stored. */
export interface StoredReader extends StoredPlace, VersionRights {
  account: string;
}

/** The memories, by deployment and the name of the kind. */
const memories = new WeakMap<Settings, Map<string, unknown>>();

/** @returns this isolate's memory of a deployment's versions of a kind. */
export function memoryOf<T>(kind: StoredKind<T>, settings: Settings): VersionMemory<T> {
  const kinds = getOrMake(memories, settings, () => new Map<string, unknown>());
  return getOrMake(kinds, kind.kind, () => new VersionMemory<T>(kind.memoryBytes)) as VersionMemory<T>;
}

/** @returns where the versions of a kind come from. */
function versionsOfKind<T>(kind: StoredKind<T>, { accounts, store, settings }: StoredPlace) {
  return {
    ...kind,
    store,
    memory: memoryOf(kind, settings),
    ask: ({ kind, owner, name }: VersionPlace, hash: string, isAny: boolean) =>
      callAccount({ identity: { account: owner }, accounts, settings }, (object) =>
        object.readVersion({ kind, name, hash }, isAny),
      ),
  };
}

/**
 * Finds what an account means by a name or a version: its own before the deployment's, and nobody else's.
 *
 * @throws ApiError 503 while neither KV nor the owner's object can be asked
 */
export async function findStored<T>(
  kind: StoredKind<T>,
  { account, scopes, listed, ...place }: StoredReader,
  ref: string | VersionRef,
  owners: readonly string[] = [account, DEPLOYMENT],
): Promise<Found<T> | undefined> {
  const parsed = typeof ref === 'string' ? parseRef(ref) : ref;
  if (!parsed) return undefined;
  return await findVersion({ ...versionsOfKind(kind, place), owners, rights: { scopes, listed } }, parsed);
}

/** Finds the same as `findStored`. @throws ApiError 404 for what does not exist, 503 while it cannot be asked for */
export async function requireStored<T>(
  kind: StoredKind<T>,
  reader: StoredReader,
  ref: string,
  owners?: readonly string[],
): Promise<Found<T>> {
  const found = await findStored(kind, reader, ref, owners);
  if (!found) throw unknownVersion(kind, ref);
  return found;
}

/** Finds a version for one who may use it, current or not. */
export async function findExactly<T>(
  kind: StoredKind<T>,
  place: StoredPlace,
  { owner, name, hash }: Omit<Found<T>, 'value'>,
): Promise<Found<T> | undefined> {
  return await findValue(versionsOfKind(kind, place), [{ kind: kind.kind, owner, name }], hash);
}

/** Checks a version that a conversation holds. @throws ApiError 409 if it was withdrawn, 503 while KV cannot be read */
export async function refuseWithdrawn<T>(
  kind: StoredKind<T>,
  place: StoredPlace,
  { owner, name, hash }: Omit<Found<T>, 'value'>,
): Promise<void> {
  const pointer = await findPointer(versionsOfKind(kind, place), { kind: kind.kind, owner, name });
  if (pointer.withdrawn.includes(hash)) throw withdrawn(kind.kind, `${name}@${hash}`);
}

/** @returns the 404 for a name that does not exist, and for a version that the caller may not use. */
export function unknownVersion({ kind, path }: Pick<StoredKind<unknown>, 'kind' | 'path'>, ref: string): ApiError {
  const [name, hash] = ref.split('@');
  return notFound(
    hash === undefined
      ? `There is no ${kind} ${ref}. Store one with PUT ${path}/:name, or list them with GET ${path}.`
      : `There is no ${kind} ${ref} for you: it is not the current version. Ask for \`${name}\`, or have whoever stores it list this version as \`pinned\` with PUT ${path}/${name}.`,
  );
}
