/**
 * Keeps copies of stored versions in KV: an immutable value for each version, found by the hash of its bytes, and for each
 * name
 * a pointer to its current version. Prefixes are one kind.
 *
 * Requests read from KV, which may be a minute behind. The owner's object is never behind; it is asked for a version that
 * KV does not have.
 */
import { LruCache } from '../cache/lru.ts';
import { sha256Hex } from '../http/bytes.ts';
import { type ApiError, tryAgain } from '../http/errors.ts';
import { storedKeys } from '../kv/keys.ts';
import type { VersionRef } from './versions.schema.ts';

/** A name, and who owns it. */
export interface VersionPlace {
  kind: string;
  /** The account, or the deployment's own owner name. */
  owner: string;
  name: string;
}

/** A version that was found. */
export interface Found<T> {
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
  /** Asks the owner's object for the bytes of a version. */
  ask(place: VersionPlace, hash: string): Promise<Uint8Array | undefined>;
  read(bytes: Uint8Array): T;
  /** @returns the bytes of memory that a value takes. */
  held(value: T, bytes: number): number;
}

/** How long an isolate remembers to which version a name points, or that it points to none. */
const BELIEVED_MS = 60_000;
const MOST_POINTERS = 10_000;
/** Bytes of memory for values. (An isolate has 128 MB.) The largest value fits, and some more. */
const MOST_REMEMBERED_BYTES = 24 * 1024 * 1024;

// A name has no colon, so the owner behind it may have any.
function pointerKey({ kind, owner, name }: VersionPlace): string {
  return `${kind}:${name}:${owner}`;
}

function valueKey({ kind, owner, name }: VersionPlace, hash: string): string {
  return `${kind}@${hash}:${name}:${owner}`;
}

/** @returns the kind of keys that say who has used names of this kind. They point to nothing. */
export function usesKind(kind: string): string {
  return `${kind}-used`;
}

/** Yields the accounts that have used a name, in order. @throws ApiError 503 while KV cannot be read */
export async function* usersOf(store: KVNamespace, kind: string, name: string): AsyncGenerator<string> {
  try {
    yield* storedKeys(store, pointerKey({ kind: usesKind(kind), name, owner: '' }));
  } catch (cause) {
    throw kvUnavailable(cause);
  }
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
  await reaching(() => store.put(valueKey(place, hash), bytes));
}

/** Deletes a version's bytes. @throws ApiError 503 while KV does not take it */
export async function deleteVersion(store: KVNamespace, place: VersionPlace, hash: string): Promise<void> {
  await reaching(() => store.delete(valueKey(place, hash)));
}

/**
 * Points a name to a version; with null, to none. KV accepts one write a second for each name.
 *
 * @throws ApiError 503 while KV does not take it
 */
export async function writePointer(store: KVNamespace, place: VersionPlace, hash: string | null): Promise<void> {
  const key = pointerKey(place);
  await reaching(() => (hash === null ? store.delete(key) : store.put(key, hash)));
}

/**
 * Finds the current version of a name, or the version with a hash. What this isolate remembers costs no read; anything
 * else costs one read for each owner's pointer and one for the value.
 *
 * @throws ApiError 503 while KV cannot be read
 */
export async function findVersion<T>(
  source: VersionSource<T>,
  { name, hash }: VersionRef,
): Promise<Found<T> | undefined> {
  const places = source.owners.map((owner) => ({ kind: source.kind, owner, name }));
  if (hash !== undefined) return await findValue(source, places, hash);
  const pointers = await Promise.all(places.map((place) => findPointer(source, place)));
  const at = pointers.findIndex((pointer) => pointer !== null);
  const [place, pointer] = [places[at], pointers[at]];
  if (!place || !pointer) return undefined;
  return await findValue(source, [place], pointer);
}

async function findPointer<T>({ store, memory }: VersionSource<T>, place: VersionPlace): Promise<string | null> {
  const believed = memory.pointer(place);
  if (believed !== undefined) return believed;
  const hash = await reaching(() => store.get(pointerKey(place)));
  memory.believe(place, hash);
  return hash;
}

async function findValue<T>(
  source: VersionSource<T>,
  places: readonly VersionPlace[],
  hash: string,
): Promise<Found<T> | undefined> {
  const { memory, store } = source;
  for (const place of places) {
    const value = memory.value(place, hash);
    if (value !== undefined) return { owner: place.owner, name: place.name, hash, value };
  }
  const found = await Promise.all(
    places.map((place) => reaching(() => store.get(valueKey(place, hash), 'arrayBuffer'))),
  );
  for (const [index, place] of places.entries()) {
    const stored = found[index];
    const bytes = stored ? new Uint8Array(stored) : await source.ask(place, hash);
    if (bytes === undefined) continue;
    // Another request may have read the same meanwhile. Its value is used, so that it is in memory only once.
    const known = memory.value(place, hash);
    if (known !== undefined) return { owner: place.owner, name: place.name, hash, value: known };
    const value = source.read(bytes);
    memory.remember(place, hash, value, source.held(value, bytes.length));
    return { owner: place.owner, name: place.name, hash, value };
  }
  return undefined;
}

async function reaching<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw kvUnavailable(cause);
  }
}

/** @returns the 503 for KV that does not respond, or refuses a second write to a key within a second. */
export function kvUnavailable(cause?: unknown): ApiError {
  const logged = `kv_unavailable: ${cause instanceof Error ? cause.message : 'unknown'}`;
  return tryAgain('The store of this edge could not be reached. Try again in a second.', logged, { cause });
}

/** Remembers values up to a number of bytes (dropping the least recently used first), and pointers for a minute. */
export class VersionMemory<T> {
  readonly #values: LruCache<string, { value: T; bytes: number }>;
  readonly #pointers = new LruCache<string, { hash: string | null; until: number }>({ most: MOST_POINTERS });

  constructor(mostBytes = MOST_REMEMBERED_BYTES) {
    this.#values = new LruCache({ most: mostBytes, sizeOf: ({ bytes }) => bytes });
  }

  /** The clock. Tests replace it. */
  now(): number {
    return Date.now();
  }

  /** @returns a remembered value, or undefined. */
  value(place: VersionPlace, hash: string): T | undefined {
    return this.#values.get(valueKey(place, hash))?.value;
  }

  /** Remembers a value. @param bytes the memory that it takes up */
  remember(place: VersionPlace, hash: string, value: T, bytes: number): void {
    const key = valueKey(place, hash);
    if (!this.#values.has(key)) this.#values.set(key, { value, bytes });
  }

  /** @returns the remembered version of a name; null if it points nowhere; undefined if that is not known. */
  pointer(place: VersionPlace): string | null | undefined {
    const believed = this.#pointers.get(pointerKey(place));
    return believed && believed.until > this.now() ? believed.hash : undefined;
  }

  /** Remembers for a minute where a name points; null means nowhere. */
  believe(place: VersionPlace, hash: string | null): void {
    this.#pointers.set(pointerKey(place), { hash, until: this.now() + BELIEVED_MS });
  }

  /** Forgets where a name points. It is called when this isolate has written the name. */
  forget(place: VersionPlace): void {
    this.#pointers.delete(pointerKey(place));
  }
}
