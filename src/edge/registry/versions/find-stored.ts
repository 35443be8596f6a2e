/** Finds stored versions (prefixes, classifiers, agents): in the isolate's memory, in KV, or in their owner's object. */

import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import type { Settings } from '../../config/settings.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { type ApiError, notFound } from '../../kit/http/errors.ts';
import { parseRef, type VersionRef } from '../../kit/kv/version-ref.ts';
import type { AccountBinding } from '../../kit/plugins/bindings.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import {
  type FoundVersion,
  findPointer,
  findValue,
  findVersion,
  VersionMemory,
  type VersionPlace,
  type VersionRights,
  type VersionSource,
  withdrawnError,
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
export interface StoredContext {
  accounts: AccountBinding;
  store: KVNamespace;
  settings: Settings;
}

/** The account that looks for something, what it may do, and where it is stored. */
export interface StoredReader extends StoredContext, VersionRights {
  account: string;
}

/** The memories, by deployment and the name of the kind. */
const memoriesByDeployment = new WeakMap<Settings, Map<string, unknown>>();

/** @returns this isolate's memory of a deployment's versions of a kind. */
export function getMemory<T>(kind: StoredKind<T>, settings: Settings): VersionMemory<T> {
  const kinds = getOrCreate(memoriesByDeployment, settings, () => new Map<string, unknown>());
  return getOrCreate(kinds, kind.kind, () => new VersionMemory<T>(kind.memoryBytes)) as VersionMemory<T>;
}

/** @returns where the versions of a kind come from. */
function createVersionSource<T>(kind: StoredKind<T>, { accounts, store, settings }: StoredContext) {
  return {
    ...kind,
    store,
    memory: getMemory(kind, settings),
    fetchFromOwner: ({ kind, owner, name }: VersionPlace, hash: string, isAny: boolean) =>
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
): Promise<FoundVersion<T> | undefined> {
  const parsed = typeof ref === 'string' ? parseRef(ref) : ref;
  if (!parsed) return undefined;
  return await findVersion({ ...createVersionSource(kind, place), owners, rights: { scopes, listed } }, parsed);
}

/** Finds the same as `findStored`. @throws ApiError 404 for what does not exist, 503 while it cannot be asked for */
export async function requireStored<T>(
  kind: StoredKind<T>,
  reader: StoredReader,
  ref: string,
  owners?: readonly string[],
): Promise<FoundVersion<T>> {
  const found = await findStored(kind, reader, ref, owners);
  if (!found) throw unknownVersionError(kind, ref);
  return found;
}

/** Finds a version for one who may use it, current or not. */
export async function findExactVersion<T>(
  kind: StoredKind<T>,
  place: StoredContext,
  { owner, name, hash }: Omit<FoundVersion<T>, 'value'>,
): Promise<FoundVersion<T> | undefined> {
  return await findValue(createVersionSource(kind, place), [{ kind: kind.kind, owner, name }], hash);
}

/** Checks a version that a conversation holds. @throws ApiError 409 if it was withdrawn, 503 while KV cannot be read */
export async function rejectWithdrawn<T>(
  kind: StoredKind<T>,
  place: StoredContext,
  { owner, name, hash }: Omit<FoundVersion<T>, 'value'>,
): Promise<void> {
  const pointer = await findPointer(createVersionSource(kind, place), { kind: kind.kind, owner, name });
  if (pointer.withdrawn.includes(hash)) throw withdrawnError(kind.kind, `${name}@${hash}`);
}

/** @returns the 404 for a name that does not exist, and for a version that the caller may not use. */
export function unknownVersionError({ kind, path }: Pick<StoredKind<unknown>, 'kind' | 'path'>, ref: string): ApiError {
  const [name, hash] = ref.split('@');
  return notFound(
    hash === undefined
      ? `There is no ${kind} ${ref}. Store one with PUT ${path}/:name, or list them with GET ${path}.`
      : `There is no ${kind} ${ref} for you: it is not the current version. Ask for \`${name}\`, or have whoever stores it list this version as \`pinned\` with PUT ${path}/${name}.`,
  );
}
