/** What the routes of prefixes and of classifiers have in common: names, their versions, and whose they are. */
import type { Context } from 'hono';
import { hasScope } from '../auth/authenticate.ts';
import type { AppEnv } from '../env.ts';
import { invalidRequest } from '../errors.ts';
import type { Account } from '../objects/account.ts';
import type { Page } from '../objects/history.ts';
import { callAccount, type Remote } from '../objects/metering.ts';
import type { NameRow, PutAnswer } from '../objects/versions.ts';
import { DEPLOYMENT } from '../schemas/identity.ts';
import { listOf, readPage } from '../schemas/page.ts';
import type { NamedRow, Owner, VersionRow } from '../schemas/versions.ts';
import { type Place, unavailable, type VersionMemory } from '../store/versions.ts';

/** @returns whose names the caller sees, in the order in which they are looked up. */
export function ownersSeen(c: Context<AppEnv>): string[] {
  return [c.get('identity').account, DEPLOYMENT];
}

/** @returns whose it is what the caller stores: an admin's is the deployment's. */
export function ownerOf(c: Context<AppEnv>): string {
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
  return <T>(call: (object: Remote<Account>) => Promise<T>) => callAccount(request, call);
}

/** @returns what a name means to the caller, and whose it is; the objects know at once. */
export async function findName(
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

/** @returns a page of the versions of a name, newest first; undefined where the caller sees no such name. */
export async function historyOf(c: Context<AppEnv>, kind: string, name: string): Promise<Page<VersionRow> | undefined> {
  const page = readPage(c.req.query());
  for (const owner of ownersSeen(c)) {
    const history = await objectOf(c, owner)((object) => object.versionHistory(kind, name, page));
    if (history) return history;
  }
  return undefined;
}

/**
 * Has the owner's object store something, and tell KV of it, before anybody is answered.
 *
 * @returns false where there is no such version
 * @throws ApiError 400 where there is no room, 503 while KV takes nothing
 */
export async function publish(
  c: Context<AppEnv>,
  memory: VersionMemory<unknown>,
  place: Place,
  hash: string,
  store: (object: Remote<Account>) => Promise<PutAnswer>,
): Promise<boolean> {
  const answer = await objectOf(c, place.owner)(store).finally(() => memory.forget(place));
  if (answer.outcome === 'unknown') return false;
  if (answer.outcome === 'full') {
    throw invalidRequest('There is no room for more: 1,000 names, and a gigabyte in all. Delete some first.');
  }
  if (!answer.published) throw unavailable();
  memory.believe(place, hash);
  return true;
}

/**
 * Takes a name away.
 *
 * @returns false where there is none
 * @throws ApiError 503 while KV takes nothing
 */
export async function removeName(c: Context<AppEnv>, memory: VersionMemory<unknown>, place: Place): Promise<boolean> {
  const { kind, owner, name } = place;
  const removing = objectOf(c, owner)((object) => object.removeName(kind, name));
  const { existed, published } = await removing.finally(() => memory.forget(place));
  if (!published) throw unavailable();
  if (existed) memory.believe(place, null);
  return existed;
}
