/** What the routes of prefixes and of classifiers have in common: names, their versions, and whose they are. */
import type { Context } from 'hono';
import { hasScope } from '../auth/authenticate.ts';
import type { AppEnv } from '../auth/context.ts';
import { callAccount } from '../durable/call-account.ts';
import type { Remote } from '../durable/call-object.ts';
import type { AccountObject, NameRow, PutAnswer } from '../durable/contracts/account.ts';
import type { Page } from '../durable/contracts/page.ts';
import { invalidRequest } from '../http/errors.ts';
import { listOf, readPage } from '../http/page.ts';
import { DEPLOYMENT } from '../identity/identity.ts';
import { findStored, memoryOf, type StoredKind, type StoredReader } from './find-stored.ts';
import { type Found, unavailable, type VersionMemory, type VersionPlace } from './kv-copies.ts';
import { isVersionedName, NAME_RULE, parseRef } from './versions.schema.ts';
import type { NamedRow, Owner, VersionRow } from './versions-answers.schema.ts';

/** @returns whose names the caller sees, in the order in which they are looked up. */
export function ownersSeen(c: Context<AppEnv>): string[] {
  return [c.get('identity').account, DEPLOYMENT];
}

/** @returns whose it is what the caller stores: an admin's is the deployment's. */
function ownerOf(c: Context<AppEnv>): string {
  const identity = c.get('identity');
  return hasScope(identity, 'admin') ? DEPLOYMENT : identity.account;
}

/** @returns an owner as answers name it. */
export function ownerName(owner: string): Owner {
  return owner === DEPLOYMENT ? 'deployment' : 'account';
}

/** @returns what calls the object of an owner. */
export function objectOf(c: Context<AppEnv>, owner: string) {
  const request = { identity: { account: owner }, accounts: c.env, settings: c.get('settings') };
  return <T>(call: (object: Remote<AccountObject>) => Promise<T>) => callAccount(request, call);
}

/** @returns what a name means to the caller, and whose it is; the objects know at once. */
async function findName(
  c: Context<AppEnv>,
  kind: string,
  name: string,
): Promise<{ owner: string; row: NameRow } | undefined> {
  for (const owner of ownersSeen(c)) {
    const row = await objectOf(c, owner)((object) => object.storedName(kind, name));
    if (row) return { owner, row };
  }
  return undefined;
}

/** @returns a page of the names that the caller sees, in their order. */
export async function listNames(c: Context<AppEnv>, kind: string) {
  const page = readPage(c.req.query());
  const owners = ownersSeen(c);
  const lists = await Promise.all(owners.map((owner) => objectOf(c, owner)((o) => o.storedNames(kind, page))));
  const rows = new Map<string, NamedRow>();
  // The account's own last: it is what its name means to it.
  for (const [index, names] of [...lists.entries()].reverse()) {
    const owner = ownerName(owners[index] ?? DEPLOYMENT);
    for (const { name, hash, ...row } of names) {
      rows.set(name, { type: kind, name, version: `${name}@${hash}`, owner, ...row });
    }
  }
  const all = [...rows.values()].sort((left, right) => (left.name < right.name ? -1 : 1));
  const { limit, before_id } = page;
  const data = before_id === undefined ? all.slice(0, limit) : all.slice(-limit);
  return listOf(data, all.length > limit, ({ name }) => name);
}

/**
 * @returns a page of the versions of a name, newest first
 * @throws ApiError 404 where the caller sees no such name
 */
export async function historyOf<T>(
  c: Context<AppEnv>,
  { kind, unknown }: StoredKind<T>,
  name: string,
): Promise<Page<VersionRow>> {
  const page = readPage(c.req.query());
  for (const owner of ownersSeen(c)) {
    const history = await objectOf(c, owner)((object) => object.versionHistory(kind, name, page));
    if (history) return history;
  }
  throw unknown(name);
}

/**
 * @param ref a name, or a version by name@version
 * @returns what it means to the caller
 * @throws ApiError 404 where the caller sees none
 */
export async function findAsked<T>(c: Context<AppEnv>, stored: StoredKind<T>, ref: string): Promise<Found<T>> {
  const asked = parseRef(ref);
  const named = asked && asked.hash === undefined ? await findName(c, stored.kind, asked.name) : undefined;
  const hash = asked?.hash ?? named?.row.hash;
  if (!asked || hash === undefined) throw stored.unknown(ref);
  const owners = named ? [named.owner] : ownersSeen(c);
  const found = await findStored(stored, readerOf(c), { name: asked.name, hash }, owners);
  if (!found) throw stored.unknown(ref);
  return found;
}

/** @returns who looks for what is stored, in a request. */
export function readerOf(c: Context<AppEnv>): StoredReader {
  return { account: c.get('identity').account, accounts: c.env, store: c.env.STORE, settings: c.get('settings') };
}

/**
 * @returns where the caller is to store something
 * @throws ApiError 400 for what cannot be a name
 */
export function placeNamed<T>(c: Context<AppEnv>, { kind }: StoredKind<T>, name: string): VersionPlace {
  if (!isVersionedName(name)) throw invalidRequest(`The name of a ${kind} is ${NAME_RULE}.`);
  return { kind, owner: ownerOf(c), name };
}

/**
 * Finds the version that a name is to point to from now on, among those of its owner.
 *
 * @throws ApiError 400 for a version of another name, 404 for one that there is not
 */
export async function versionOf<T>(
  c: Context<AppEnv>,
  stored: StoredKind<T>,
  { owner, name }: VersionPlace,
  version: string,
): Promise<Found<T>> {
  const ref = parseRef(version);
  if (ref?.name !== name || ref.hash === undefined) {
    throw invalidRequest(`version: Input should be a version of this ${stored.kind}: ${name}@…`);
  }
  const found = await findStored(stored, readerOf(c), ref, [owner]);
  if (!found) throw stored.unknown(version);
  return found;
}

/** Has a name point to a version that there is. */
export async function pointName<T>(
  c: Context<AppEnv>,
  stored: StoredKind<T>,
  place: VersionPlace,
  hash: string,
): Promise<void> {
  const { kind, name } = place;
  const memory = memoryOf(stored, c.get('settings'));
  const pointed = await publish(c, memory, place, hash, (object) => object.pointVersion({ kind, name, hash }));
  if (!pointed) throw stored.unknown(`${name}@${hash}`);
}

/** Stores a version, and has its name point to it. */
export async function putVersion<T>(
  c: Context<AppEnv>,
  stored: StoredKind<T>,
  place: VersionPlace,
  version: { hash: string; bytes: Uint8Array; description: string | undefined },
): Promise<void> {
  const { kind, name } = place;
  const { hash, bytes, description = null } = version;
  await publish(c, memoryOf(stored, c.get('settings')), place, hash, (object) =>
    object.putVersion({ kind, name, hash, bytes, description }),
  );
}

/**
 * Has the owner's object store something, and tell KV of it, before anybody is answered.
 *
 * @returns false where there is no such version
 * @throws ApiError 400 where there is no room, 503 while KV takes nothing
 */
async function publish(
  c: Context<AppEnv>,
  memory: VersionMemory<unknown>,
  place: VersionPlace,
  hash: string,
  store: (object: Remote<AccountObject>) => Promise<PutAnswer>,
): Promise<boolean> {
  const answer = await objectOf(c, place.owner)(store).finally(() => memory.forget(place));
  if (answer.outcome === 'unknown') return false;
  if (answer.outcome === 'full') {
    throw invalidRequest(
      'There is no room for more: 1,000 names, and what the limit stored_bytes allows. Delete some first.',
    );
  }
  if (!answer.published) throw unavailable();
  memory.believe(place, hash);
  return true;
}

/**
 * Takes a name away that is the caller's.
 *
 * @throws ApiError 404 where there is none, 503 while KV takes nothing
 */
export async function removeName<T>(c: Context<AppEnv>, stored: StoredKind<T>, name: string): Promise<void> {
  const { kind } = stored;
  const owner = ownerOf(c);
  const place = { kind, owner, name };
  const memory = memoryOf(stored, c.get('settings'));
  const removing = objectOf(c, owner)((object) => object.removeName(kind, name));
  const { existed, published } = await removing.finally(() => memory.forget(place));
  if (!published) throw unavailable();
  if (!existed) throw stored.unknown(name);
  memory.believe(place, null);
}
