/**
 * Keeps copies of stored versions in KV: an immutable value for each version, found by the hash of its bytes, and for each
 * name a pointer to its current version. Prefixes are one kind.
 *
 * Requests read from KV, which may be a minute behind. The owner's object is never behind; it is asked for a version that KV
 * does not have.
 */
import { hasScope } from '../../auth/authenticate.ts';
import { DEPLOYMENT, type Scope } from '../../auth/identity/identity.ts';
import { LruCache } from '../../kit/cache/lru.ts';
import { sha256Hex } from '../../kit/http/bytes.ts';
import { type ApiError, finalError, retryableError } from '../../kit/http/errors.ts';
import type { VersionRef } from '../../kit/kv/version-ref.ts';
import type { NamePointer } from '../contracts/account.ts';

/** A name, and who owns it. */
export interface VersionPlace {
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

/** Where the versions of one kind come from. */
export interface VersionSource<T> {
  kind: string;
  store: KVNamespace;
  memory: VersionMemory<T>;
  /** The owners, in the order in which a name is looked up. */
  owners: readonly string[];
  /** Who asks, and so may use other versions than the current one. */
  rights: VersionRights;
  /** Asks the owner's object for the bytes of a version. @param isAny whether it need not be current or pinned */
  fetchFromOwner(place: VersionPlace, hash: string, isAny: boolean): Promise<Uint8Array | undefined>;
  read(bytes: Uint8Array): T | Promise<T>;
  memorySize(value: T, bytes: number): number;
}

/** What a caller may do. */
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
/** Bytes of memory for values. (An isolate has 128 MB.) The largest value fits, and some more. */
const MAX_REMEMBERED_BYTES = 24 * 1024 * 1024;

// A name has no colon, so the owner behind it may have any.
function pointerKey({ kind, owner, name }: VersionPlace): string {
  return `${kind}:${name}:${owner}`;
}

function valueKey({ kind, owner, name }: VersionPlace, hash: string): string {
  return `${kind}@${hash}:${name}:${owner}`;
}

/** @returns the hash that identifies a version among those of its name. */
export async function versionHashOf(bytes: Uint8Array): Promise<string> {
  return (await sha256Hex(bytes)).slice(0, 32);
}

/** Writes a version's bytes. @throws ApiError 503 while KV does not take them */
export async function writeVersion(
  store: KVNamespace,
  place: VersionPlace,
  hash: string,
  bytes: Uint8Array,
): Promise<void> {
  await callKv(() => store.put(valueKey(place, hash), bytes));
}

/** Deletes a version's bytes. @throws ApiError 503 while KV does not take it */
export async function deleteVersion(store: KVNamespace, place: VersionPlace, hash: string): Promise<void> {
  await callKv(() => store.delete(valueKey(place, hash)));
}

/**
 * Writes what is known of a name; null if nothing is. KV accepts one write a second for each name.
 *
 * @param text as `pointerText` writes it
 * @throws ApiError 503 while KV does not take it
 */
export async function writePointer(store: KVNamespace, place: VersionPlace, text: string | null): Promise<void> {
  const key = pointerKey(place);
  await callKv(() => (text === null ? store.delete(key) : store.put(key, text)));
}

/** @returns the text for KV of a name's row; null if nothing is known of the name. */
export function pointerText({ hash, pinned, withdrawn }: Record<string, unknown>): string | null {
  return hash === null && withdrawn === '' ? null : `${hash ?? ''} ${pinned} ${withdrawn}`.trimEnd();
}

/** Reads what `pointerText` writes: the current version, the pinned ones and the withdrawn ones, with commas in between. */
export function readPointer(text: string | null): NamePointer {
  const [hash = '', ...lists] = (text ?? '').split(' ');
  const [pinned = [], withdrawn = []] = lists.map((list) => list.split(',').filter((one) => one !== ''));
  return { hash, pinned, withdrawn };
}

/**
 * @returns whether a caller may use a version of a name: the current one, a pinned one, one that the caller's token lists, or
 *   any for those who may store the name
 */
export function mayUseVersion(owner: string, hash: string, pointer: NamePointer, rights: VersionRights): boolean {
  if (pointer.hash === '' || pointer.withdrawn.includes(hash)) return false;
  return pointer.hash === hash || pointer.pinned.includes(hash) || mayUseAnyVersion(owner, hash, rights);
}

function mayUseAnyVersion(owner: string, hash: string, { scopes, listed = [] }: VersionRights): boolean {
  return listed.includes(hash) || hasScope({ scopes }, owner === DEPLOYMENT ? 'admin' : 'prefixes');
}

/**
 * Finds the current version of a name, or the version with a hash if the caller may use it. What this isolate remembers
 * costs no read; anything else costs one read for each owner's pointer and one for the value.
 *
 * @throws ApiError 503 while KV cannot be read
 */
export async function findVersion<T>(
  source: VersionSource<T>,
  { name, hash }: VersionRef,
): Promise<FoundVersion<T> | undefined> {
  const places = source.owners.map((owner) => ({ kind: source.kind, owner, name }));
  const pointers = await Promise.all(places.map((place) => findPointer(source, place)));
  if (hash === undefined) {
    const at = pointers.findIndex((pointer) => pointer.hash !== '');
    const [place, pointer] = [places[at], pointers[at]];
    return place && pointer && (await findValue(source, [place], pointer.hash));
  }
  const usable = places.filter(({ owner }, at) => {
    const pointer = pointers[at];
    return pointer && mayUseVersion(owner, hash, pointer, source.rights);
  });
  const others = places.filter((place) => !usable.includes(place));
  return (await findValue(source, usable, hash)) ?? (await fetchFromOwners(source, others, hash));
}

/** Asks the owners' objects, since KV may be behind. What they allow is remembered as pinned for as long as KV is believed. */
async function fetchFromOwners<T>(
  source: VersionSource<T>,
  places: readonly VersionPlace[],
  hash: string,
): Promise<FoundVersion<T> | undefined> {
  for (const place of places) {
    const bytes = await source.fetchFromOwner(place, hash, mayUseAnyVersion(place.owner, hash, source.rights));
    if (!bytes) continue;
    source.memory.pin(place, hash);
    return await readOnce(source, place, hash, bytes);
  }
  return undefined;
}

/** Finds what is known of a name: at most as old as this isolate's memory and KV's together. */
export async function findPointer(
  { store, memory }: Pick<VersionSource<unknown>, 'store' | 'memory'>,
  place: VersionPlace,
): Promise<NamePointer> {
  const believed = memory.pointer(place);
  if (believed !== undefined) return believed;
  const pointer = readPointer(await callKv(() => store.get(pointerKey(place), { cacheTtl: MIN_KV_CACHE_SECONDS })));
  memory.rememberPointer(place, pointer);
  return pointer;
}

/** Finds a version that the caller may use. */
export async function findValue<T>(
  source: Omit<VersionSource<T>, 'owners' | 'rights'>,
  places: readonly VersionPlace[],
  hash: string,
): Promise<FoundVersion<T> | undefined> {
  const { memory, store } = source;
  for (const place of places) {
    const value = memory.value(place, hash);
    if (value !== undefined) return { owner: place.owner, name: place.name, hash, value };
  }
  const found = await Promise.all(places.map((place) => callKv(() => store.get(valueKey(place, hash), 'arrayBuffer'))));
  for (const [index, place] of places.entries()) {
    const stored = found[index];
    const bytes = stored ? new Uint8Array(stored) : await source.fetchFromOwner(place, hash, true);
    if (bytes !== undefined) return await readOnce(source, place, hash, bytes);
  }
  return undefined;
}

/** Reads a version, or takes what another request has read meanwhile, so that it is in memory only once. */
async function readOnce<T>(
  { memory, read, memorySize }: Pick<VersionSource<T>, 'memory' | 'read' | 'memorySize'>,
  place: VersionPlace,
  hash: string,
  bytes: Uint8Array,
): Promise<FoundVersion<T>> {
  const own = memory.value(place, hash) ?? (await read(bytes));
  const value = memory.value(place, hash) ?? own;
  memory.remember(place, hash, value, memorySize(value, bytes.length));
  return { owner: place.owner, name: place.name, hash, value };
}

async function callKv<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw kvUnavailable(cause);
  }
}

/** @returns the 503 for KV that does not respond, or refuses a second write to a key within a second. */
export function kvUnavailable(cause?: unknown): ApiError {
  const logged = `kv_unavailable: ${cause instanceof Error ? cause.message : 'unknown'}`;
  return retryableError('The store of this edge could not be reached. Try again in a second.', logged, { cause });
}

/** Remembers values up to a number of bytes (dropping the least recently used first), and pointers for a minute. */
export class VersionMemory<T> {
  readonly #values: LruCache<string, { value: T; bytes: number }>;
  readonly #pointers = new LruCache<string, { pointer: NamePointer; until: number }>({ maxSize: MAX_POINTERS });

  constructor(mostBytes = MAX_REMEMBERED_BYTES) {
    this.#values = new LruCache({ maxSize: mostBytes, sizeOf: ({ bytes }) => bytes });
  }

  /** The clock. Tests replace it. */
  now(): number {
    return Date.now();
  }

  value(place: VersionPlace, hash: string): T | undefined {
    return this.#values.get(valueKey(place, hash))?.value;
  }

  /** Remembers a value. @param bytes the memory that it takes up */
  remember(place: VersionPlace, hash: string, value: T, bytes: number): void {
    const key = valueKey(place, hash);
    if (!this.#values.has(key)) this.#values.set(key, { value, bytes });
  }

  /** @returns what is remembered of a name; undefined if that is nothing. */
  pointer(place: VersionPlace): NamePointer | undefined {
    const believed = this.#pointers.get(pointerKey(place));
    return believed && believed.until > this.now() ? believed.pointer : undefined;
  }

  /** Remembers for a minute what is known of a name. */
  rememberPointer(place: VersionPlace, pointer: NamePointer): void {
    this.#pointers.set(pointerKey(place), { pointer, until: this.now() + POINTER_CACHE_MS });
  }

  /** Adds a pinned version to what is remembered of a name. That ends at the same time as before. */
  pin(place: VersionPlace, hash: string): void {
    const believed = this.#pointers.get(pointerKey(place));
    if (believed) believed.pointer = { ...believed.pointer, pinned: [...believed.pointer.pinned, hash] };
  }

  /** Forgets where a name points. It is called when this isolate has written the name. */
  forget(place: VersionPlace): void {
    this.#pointers.delete(pointerKey(place));
  }
}

/** @returns the 409 for a conversation whose version was withdrawn. */
export function withdrawnError(kind: string, ref: string): ApiError {
  const name = ref.split('@')[0] ?? ref;
  return finalError(
    'conflict_error',
    `The ${kind} ${ref} was withdrawn by whoever stored it. Begin another conversation with \`"${kind}": "${name}"\`. What was said here can still be read.`,
  );
}
