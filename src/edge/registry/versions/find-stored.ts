/** Finds stored versions (prefixes, classifiers, agents): in the isolate's memory, in KV, or in their owner's object. */

import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import type { Settings } from '../../config/settings.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { type ApiError, createNotFoundError } from '../../kit/http/errors.ts';
import { findNearestName } from '../../kit/json/nearest-name.ts';
import { type NamedVersionRef, parseVersionRef } from '../../kit/kv/version-ref.ts';
import type { AccountAndPoolBindings } from '../../kit/plugins/bindings.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import {
  createWithdrawnVersionError,
  type FoundVersion,
  findPointerInMemoryOrKv,
  findUsableVersion,
  findVersionInMemoryOrKv,
  type OwnedName,
  VersionMemory,
  type VersionRights,
  type VersionSource,
} from '../../money/versions/kv-copies.ts';
import { MAX_NAMES } from '../../money/versions/version-rows.ts';

/** One kind of stored things: its name in keys and rows, and how its text is read. */
export interface StoredResourceKind<T, Path extends string = string>
  extends Pick<VersionSource<T>, 'kind' | 'read' | 'memorySize'> {
  /** How many bytes of it an isolate remembers. Default: that of `VersionMemory`. */
  memoryBytes?: number;
  /** The path of its routes: `/prefixes`. */
  path: Path;
}

/** The deployment in which something is stored. */
export interface VersionStorageContext {
  accounts: AccountAndPoolBindings;
  store: KVNamespace;
  settings: Settings;
}

/** The account that looks for something, what it may do, and where it is stored. */
export interface VersionReader extends VersionStorageContext, VersionRights {
  account: string;
}

/** The memories, by deployment and the name of the kind. */
const memoriesByDeployment = new WeakMap<Settings, Map<string, unknown>>();

/** @returns this isolate's memory of a deployment's versions of a kind. */
export function getVersionMemory<T>(kind: StoredResourceKind<T>, settings: Settings): VersionMemory<T> {
  const kinds = getOrCreate(memoriesByDeployment, settings, () => new Map<string, unknown>());
  return getOrCreate(kinds, kind.kind, () => new VersionMemory<T>(kind.memoryBytes)) as VersionMemory<T>;
}

/** @returns where the versions of a kind come from. */
function createVersionSources<T>(kind: StoredResourceKind<T>, { accounts, store, settings }: VersionStorageContext) {
  return {
    ...kind,
    store,
    memory: getVersionMemory(kind, settings),
    fetchFromOwner: ({ kind, owner, name }: OwnedName, hash: string, isAny: boolean) =>
      callAccount({ identity: { account: owner }, accounts, settings }, (object) =>
        object.readVersion({ kind, name, hash }, isAny),
      ),
  };
}

/**
 * Finds the version that an account's name or version refers to: its own before the deployment's, and never another account's.
 *
 * @throws ApiError 503 while neither KV nor the owner's object can be read
 */
export async function findStoredVersion<T>(
  kind: StoredResourceKind<T>,
  { account, scopes, listed, ...storage }: VersionReader,
  ref: string | NamedVersionRef,
  owners: readonly string[] = [account, DEPLOYMENT],
): Promise<FoundVersion<T> | undefined> {
  const parsed = typeof ref === 'string' ? parseVersionRef(ref) : ref;
  if (!parsed) return undefined;
  return await findUsableVersion(
    { ...createVersionSources(kind, storage), owners, rights: { scopes, listed } },
    parsed,
  );
}

/** Finds the same as `findStoredVersion`. @throws ApiError 404 for what does not exist, 503 while it cannot be asked for */
export async function requireStoredVersion<T>(
  kind: StoredResourceKind<T>,
  reader: VersionReader,
  ref: string,
  owners?: readonly string[],
): Promise<FoundVersion<T>> {
  const found = await findStoredVersion(kind, reader, ref, owners);
  if (!found) throw createUnknownVersionError(kind, ref, await findNearestStoredName(kind, reader, ref, owners));
  return found;
}

/**
 * Finds the stored name that is most similar to an unknown one. Holders of restricted tokens must not learn other names, so it
 * finds none for them.
 *
 * @throws ObjectUnreachableError 503 while an owner's object cannot be asked
 */
export async function findNearestStoredName<T>(
  { kind }: StoredResourceKind<T>,
  { account, listed, accounts, settings }: VersionReader,
  ref: string,
  owners: readonly string[] = [account, DEPLOYMENT],
): Promise<string | undefined> {
  if (listed !== undefined || ref.includes('@')) return undefined;
  const lists = await Promise.all(
    owners.map((owner) =>
      callAccount({ identity: { account: owner }, accounts, settings }, (object) =>
        object.listVersionedNames(kind, { limit: MAX_NAMES }),
      ),
    ),
  );
  return findNearestName(
    ref,
    lists.flat().map(({ name }) => name),
  );
}

/** Finds a version for one who may use it, current or not. */
export async function findVersionByHash<T>(
  kind: StoredResourceKind<T>,
  storage: VersionStorageContext,
  { owner, name, hash }: Omit<FoundVersion<T>, 'value'>,
): Promise<FoundVersion<T> | undefined> {
  return await findVersionInMemoryOrKv(createVersionSources(kind, storage), [{ kind: kind.kind, owner, name }], hash);
}

/** Checks a version that a conversation holds. @throws ApiError 409 if it was withdrawn, 503 while KV cannot be read */
export async function rejectWithdrawnVersion<T>(
  kind: StoredResourceKind<T>,
  storage: VersionStorageContext,
  { owner, name, hash }: Omit<FoundVersion<T>, 'value'>,
): Promise<void> {
  const pointer = await findPointerInMemoryOrKv(createVersionSources(kind, storage), { kind: kind.kind, owner, name });
  if (pointer.withdrawn.includes(hash)) throw createWithdrawnVersionError(kind.kind, `${name}@${hash}`);
}

/** @returns the 404 for a name that does not exist, and for a version that the caller may not use. @param meant a similar name */
export function createUnknownVersionError(
  { kind, path }: Pick<StoredResourceKind<unknown>, 'kind' | 'path'>,
  ref: string,
  meant?: string,
): ApiError {
  const [name, hash] = ref.split('@');
  if (meant !== undefined)
    return createNotFoundError(`The ${kind} ${ref} does not exist. Did you mean ${meant}? List all with GET ${path}.`);
  return createNotFoundError(
    hash === undefined
      ? `The ${kind} ${ref} does not exist. Store it with PUT ${path}/:name, or list all with GET ${path}.`
      : `The ${kind} ${ref} does not exist, or you cannot use it because it is not the current version. Use \`${name}\`, or ask its owner to add this version to \`pinned\` with PUT ${path}/${name}.`,
  );
}
