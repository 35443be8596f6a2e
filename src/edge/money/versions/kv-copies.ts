/**
 * Keeps copies of stored versions in KV: an immutable value for each version, found by the hash of its bytes, and for each
 * name a pointer to its current version. Prefixes are one kind.
 *
 * Requests read from KV, which may be a minute behind. The owner's object is never behind; it is queried for a version that KV
 * does not have.
 */

import { LRUCache } from 'lru-cache';
import { hasScope } from '../../auth/authenticate.ts';
import { DEPLOYMENT, type Scope } from '../../auth/identity/identity.ts';
import { createLruCache } from '../../kit/cache/lru.ts';
import { sha256Hex } from '../../kit/http/bytes.ts';
import { type ApiError, createNonRetryableError, createRetryableError } from '../../kit/http/errors.ts';
import type { NamedVersionRef } from '../../kit/kv/version-ref.ts';
import type { VersionPointer } from '../contracts/account.ts';

/** A name, and who owns it. */
export interface OwnedName {
  kind: string;
  /** The account, or the deployment's own owner name. */
  owner: string;
  name: string;
}

export interface FoundVersion<T> {
  owner: string;
  name: string;
  hash: string;
  value: T;
}

/** The source of the versions of one kind. */
export interface VersionSource<T> {
  kind: string;
  store: KVNamespace;
  memory: VersionMemory<T>;
  /** The owners, in the order in which a name is looked up. */
  owners: readonly string[];
  /** The caller's rights, which determine whether other versions than the current one may be used. */
  rights: VersionRights;
  /** Reads the bytes of a version from the owner's object. @param isAny whether it need not be current or pinned */
  fetchFromOwner(ownedName: OwnedName, hash: string, isAny: boolean): Promise<Uint8Array | undefined>;
  read(bytes: Uint8Array): T | Promise<T>;
  memorySize(value: T, bytes: number): number;
}

/** The rights of a caller. */
export interface VersionRights {
  scopes: readonly Scope[];
  /** The hashes that the caller's token lists. */
  listed?: readonly string[] | undefined;
}

/** How long an isolate remembers to which version a name points, or that it points to none. */
const POINTER_CACHE_MS = 60_000;
/** The shortest time for which KV lets a place of the network remember a value. */
const MIN_KV_CACHE_SECONDS = 30;
const MAX_POINTERS = 10_000;
/**
 * Bytes of memory for values. (An isolate has 128 MB: https://developers.cloudflare.com/workers/platform/limits/) The largest
 * value fits, and some more.
 */
const MAX_REMEMBERED_BYTES = 24 * 1024 * 1024;

// A name contains no colon, so the key is unambiguous although the owner, which comes last, may contain colons.
function createPointerKvKey({ kind, owner, name }: OwnedName): string {
  return `${kind}:${name}:${owner}`;
}

function createVersionKvKey({ kind, owner, name }: OwnedName, hash: string): string {
  return `${kind}@${hash}:${name}:${owner}`;
}

/** @returns the hash that identifies a version among those of its name. */
export async function computeVersionHash(bytes: Uint8Array): Promise<string> {
  return (await sha256Hex(bytes)).slice(0, 32);
}

/** Writes a version's bytes. @throws ApiError 503 while KV does not take them */
export async function writeVersionToKv(
  store: KVNamespace,
  ownedName: OwnedName,
  hash: string,
  bytes: Uint8Array,
): Promise<void> {
  await callKvOrThrowUnavailable(() => store.put(createVersionKvKey(ownedName, hash), bytes));
}

/** Deletes a version's bytes. @throws ApiError 503 while KV does not take it */
export async function deleteVersionFromKv(store: KVNamespace, ownedName: OwnedName, hash: string): Promise<void> {
  await callKvOrThrowUnavailable(() => store.delete(createVersionKvKey(ownedName, hash)));
}

/**
 * Writes what is known of a name; null if nothing is. KV accepts one write a second for each name.
 *
 * @param text as `serializePointer` writes it
 * @throws ApiError 503 while KV does not take it
 */
export async function writePointerToKv(store: KVNamespace, ownedName: OwnedName, text: string | null): Promise<void> {
  const key = createPointerKvKey(ownedName);
  await callKvOrThrowUnavailable(() => (text === null ? store.delete(key) : store.put(key, text)));
}

/** @returns the text for KV of a name's row; null if nothing is known of the name. */
export function serializePointer({ hash, pinned, withdrawn }: Record<string, unknown>): string | null {
  return hash === null && withdrawn === '' ? null : `${hash ?? ''} ${pinned} ${withdrawn}`.trimEnd();
}

/** Reads what `serializePointer` writes: the current version, the pinned ones and the withdrawn ones, with commas in between. */
export function parsePointer(text: string | null): VersionPointer {
  const [hash = '', ...lists] = (text ?? '').split(' ');
  const [pinned = [], withdrawn = []] = lists.map((list) => list.split(',').filter((one) => one !== ''));
  return { hash, pinned, withdrawn };
}

/**
 * @returns whether a caller may use a version of a name: the current one, a pinned one, one that the caller's token lists, or
 *   any for those who may store the name
 */
export function canUseVersion(owner: string, hash: string, pointer: VersionPointer, rights: VersionRights): boolean {
  if (pointer.hash === '' || pointer.withdrawn.includes(hash)) return false;
  return pointer.hash === hash || pointer.pinned.includes(hash) || canUseAnyVersion(owner, hash, rights);
}

function canUseAnyVersion(owner: string, hash: string, { scopes, listed = [] }: VersionRights): boolean {
  return listed.includes(hash) || hasScope({ scopes }, owner === DEPLOYMENT ? 'admin' : 'prefixes');
}

/**
 * Finds the current version of a name, or the version with a hash if the caller may use it. What this isolate remembers
 * costs no read; anything else costs one read for each owner's pointer and one for the value.
 *
 * @throws ApiError 503 while KV cannot be read
 */
export async function findUsableVersion<T>(
  source: VersionSource<T>,
  { name, hash }: NamedVersionRef,
): Promise<FoundVersion<T> | undefined> {
  const ownedNames = source.owners.map((owner) => ({ kind: source.kind, owner, name }));
  const pointers = await Promise.all(ownedNames.map((ownedName) => findPointerInMemoryOrKv(source, ownedName)));
  if (hash === undefined) {
    const at = pointers.findIndex((pointer) => pointer.hash !== '');
    const [ownedName, pointer] = [ownedNames[at], pointers[at]];
    return ownedName && pointer && (await findVersionInMemoryOrKv(source, [ownedName], pointer.hash));
  }
  const usable = ownedNames.filter(({ owner }, at) => {
    const pointer = pointers[at];
    return pointer && canUseVersion(owner, hash, pointer, source.rights);
  });
  const others = ownedNames.filter((ownedName) => !usable.includes(ownedName));
  return (await findVersionInMemoryOrKv(source, usable, hash)) ?? (await fetchVersionFromOwners(source, others, hash));
}

/**
 * Reads from the owners' objects, because KV may be behind. A version that they allow counts as pinned for as long as values
 * from KV are cached.
 */
async function fetchVersionFromOwners<T>(
  source: VersionSource<T>,
  ownedNames: readonly OwnedName[],
  hash: string,
): Promise<FoundVersion<T> | undefined> {
  for (const ownedName of ownedNames) {
    const bytes = await source.fetchFromOwner(ownedName, hash, canUseAnyVersion(ownedName.owner, hash, source.rights));
    if (!bytes) continue;
    source.memory.addPinToCachedPointer(ownedName, hash);
    return await parseAndCacheVersion(source, ownedName, hash, bytes);
  }
  return undefined;
}

/** Finds what is known of a name: at most as old as this isolate's memory and KV's together. */
export async function findPointerInMemoryOrKv<T>(
  { store, memory }: Pick<VersionSource<T>, 'store' | 'memory'>,
  ownedName: OwnedName,
): Promise<VersionPointer> {
  const believed = memory.getCachedPointer(ownedName);
  if (believed !== undefined) return believed;
  const pointer = parsePointer(
    await callKvOrThrowUnavailable(() => store.get(createPointerKvKey(ownedName), { cacheTtl: MIN_KV_CACHE_SECONDS })),
  );
  memory.cachePointer(ownedName, pointer);
  return pointer;
}

/** Finds a version that the caller may use. */
export async function findVersionInMemoryOrKv<T>(
  source: Omit<VersionSource<T>, 'owners' | 'rights'>,
  ownedNames: readonly OwnedName[],
  hash: string,
): Promise<FoundVersion<T> | undefined> {
  const { memory, store } = source;
  for (const ownedName of ownedNames) {
    const value = memory.getCachedValue(ownedName, hash);
    if (value !== undefined) return { owner: ownedName.owner, name: ownedName.name, hash, value };
  }
  const found = await Promise.all(
    ownedNames.map((ownedName) =>
      callKvOrThrowUnavailable(() => store.get(createVersionKvKey(ownedName, hash), 'arrayBuffer')),
    ),
  );
  for (const [index, ownedName] of ownedNames.entries()) {
    const stored = found[index];
    const bytes = stored ? new Uint8Array(stored) : await source.fetchFromOwner(ownedName, hash, true);
    if (bytes !== undefined) return await parseAndCacheVersion(source, ownedName, hash, bytes);
  }
  return undefined;
}

/** Reads a version, or takes what another request has read meanwhile, so that it is in memory only once. */
async function parseAndCacheVersion<T>(
  { memory, read, memorySize }: Pick<VersionSource<T>, 'memory' | 'read' | 'memorySize'>,
  ownedName: OwnedName,
  hash: string,
  bytes: Uint8Array,
): Promise<FoundVersion<T>> {
  const own = memory.getCachedValue(ownedName, hash) ?? (await read(bytes));
  const value = memory.getCachedValue(ownedName, hash) ?? own;
  memory.cacheValue(ownedName, hash, value, memorySize(value, bytes.length));
  return { owner: ownedName.owner, name: ownedName.name, hash, value };
}

async function callKvOrThrowUnavailable<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw createKvUnavailableError(cause);
  }
}

/** @returns the 503 for KV that does not respond, or rejects a second write to a key within a second. */
export function createKvUnavailableError(cause?: unknown): ApiError {
  const logged = `kv_unavailable: ${cause instanceof Error ? cause.message : 'unknown'}`;
  return createRetryableError('The store of this deployment could not be reached. Try again in a second.', logged, {
    cause,
  });
}

/** Remembers values up to a number of bytes (dropping the least recently used first), and pointers for a minute. */
export class VersionMemory<T> {
  readonly #values: LRUCache<string, { value: T; bytes: number }>;
  readonly #pointers = createLruCache<string, { pointer: VersionPointer; until: number }>(MAX_POINTERS);

  constructor(mostBytes = MAX_REMEMBERED_BYTES) {
    this.#values = new LRUCache({ maxSize: mostBytes, sizeCalculation: ({ bytes }) => bytes });
  }

  /** The clock. Tests replace it. */
  now(): number {
    return Date.now();
  }

  getCachedValue(ownedName: OwnedName, hash: string): T | undefined {
    return this.#values.get(createVersionKvKey(ownedName, hash))?.value;
  }

  /** Remembers a value. @param bytes the memory that it takes up */
  cacheValue(ownedName: OwnedName, hash: string, value: T, bytes: number): void {
    const key = createVersionKvKey(ownedName, hash);
    if (!this.#values.has(key)) this.#values.set(key, { value, bytes });
  }

  /** @returns what is remembered of a name; undefined if that is nothing. */
  getCachedPointer(ownedName: OwnedName): VersionPointer | undefined {
    const believed = this.#pointers.get(createPointerKvKey(ownedName));
    return believed && believed.until > this.now() ? believed.pointer : undefined;
  }

  /** Remembers for a minute what is known of a name. */
  cachePointer(ownedName: OwnedName, pointer: VersionPointer): void {
    this.#pointers.set(createPointerKvKey(ownedName), { pointer, until: this.now() + POINTER_CACHE_MS });
  }

  /** Adds a pinned version to what is remembered of a name. That ends at the same time as before. */
  addPinToCachedPointer(ownedName: OwnedName, hash: string): void {
    const believed = this.#pointers.get(createPointerKvKey(ownedName));
    if (believed) believed.pointer = { ...believed.pointer, pinned: [...believed.pointer.pinned, hash] };
  }

  /** Forgets where a name points. It is called when this isolate has written the name. */
  dropCachedPointer(ownedName: OwnedName): void {
    this.#pointers.delete(createPointerKvKey(ownedName));
  }
}

/** @returns the 409 for a conversation whose version was withdrawn. */
export function createWithdrawnVersionError(kind: string, ref: string): ApiError {
  const name = ref.split('@')[0] ?? ref;
  return createNonRetryableError(
    'conflict_error',
    `The ${kind} ${ref} was withdrawn by its owner. Start another conversation with \`"${kind}": "${name}"\`. You can still read this one.`,
  );
}
