/** Makes the routes that prefixes, classifiers and agents share: names, versions, and owners. */
import type { Context } from 'hono';
import { hasScope, requireScope } from '../auth/authenticate.ts';
import { type AppEnv, objectOf } from '../auth/context.ts';
import type { Remote } from '../durable/call-object.ts';
import type { AccountObject, NameRow, PutAnswer } from '../durable/contracts/account.ts';
import type { Page } from '../durable/contracts/page.ts';
import { invalidRequest, tooLarge } from '../http/errors.ts';
import { Hono } from '../http/hono.ts';
import { listOf, readPage } from '../http/page.ts';
import { validate } from '../http/validate.ts';
import type * as z from '../http/zod.ts';
import { DEPLOYMENT, type Scope } from '../identity/identity.ts';
import { findStored, memoryOf, type StoredKind, type StoredReader } from './find-stored.ts';
import { type Found, kvUnavailable, type VersionPlace, versionHashOf } from './kv-copies.ts';
import { isVersionedName, NAME_RULE, parseRef } from './versions.schema.ts';
import type { NamedRow, Owner, VersionRow } from './versions-answers.schema.ts';

/** What the routes need to know about one kind. `T` is a version's value, `F` its schema in a `PUT`. */
export interface NamedKind<T, F extends z.ZodMiniType<{ description?: string | undefined }>> {
  stored: StoredKind<T>;
  /** The path of the list: `/classifiers`. */
  path: string;
  /** The scope for reading. The scope for writing is `prefixes`. */
  scope: Scope;
  /** The two bodies that a `PUT` takes: a new version, or one that is stored already. */
  schemas: { fields: F; pointer: z.ZodMiniType<{ version: string }> };
  maxBytes: number;
  /** Reads the body of a `PUT`, which must be a JSON object. */
  readBody(c: Context<AppEnv>): Promise<object>;
  /** Writes a new version in its stored form. */
  write(fields: z.output<F>): Uint8Array;
  /** Answers a `GET` of one version. */
  show(c: Context<AppEnv>, found: Found<T>): Response;
  /** Answers a `PUT`. If it throws, the version is not stored. */
  answerPut(c: Context<AppEnv>, version: Found<T>): object | Promise<object>;
  /** Asks the account to admit the request before anything is stored. */
  admit(c: Context<AppEnv>, owner: string): Promise<void>;
}

/** Makes the routes that every kind of named things has: list, put, get, list versions, delete. */
export function namedRoutes<T, F extends z.ZodMiniType<{ description?: string | undefined }>>(named: NamedKind<T, F>) {
  const { stored, path, scope } = named;
  return new Hono<AppEnv>()
    .get(path, requireScope(scope), async (c) => c.json(await listNames(c, stored.kind)))
    .put(`${path}/:name`, requireScope('prefixes'), async (c) => c.json(await putNamed(c, named)))
    .get(`${path}/:name/versions`, requireScope(scope), async (c) =>
      c.json(await historyOf(c, stored, c.req.param('name') ?? '')),
    )
    .get(`${path}/:name`, requireScope(scope), async (c) =>
      named.show(c, await findAsked(c, stored, c.req.param('name') ?? '')),
    )
    .delete(`${path}/:name`, requireScope('prefixes'), async (c) => {
      const name = c.req.param('name') ?? '';
      await removeName(c, stored, name);
      return c.json({ type: `${stored.kind}_deleted`, name });
    });
}

/** Stores a version under a name, or points the name to a version that is stored already. */
async function putNamed<T, F extends z.ZodMiniType<{ description?: string | undefined }>>(
  c: Context<AppEnv>,
  { stored, schemas, maxBytes, readBody, write, answerPut, admit }: NamedKind<T, F>,
): Promise<object> {
  const { kind } = stored;
  const name = c.req.param('name') ?? '';
  if (!isVersionedName(name)) throw invalidRequest(`The name of the ${kind} is ${NAME_RULE}.`);
  const owner = ownerOf(c);
  const place = { kind, owner, name };
  const json = await readBody(c);
  if (Object.hasOwn(json, 'version')) {
    const found = await versionOf(c, stored, place, validate(schemas.pointer, json).version);
    const { hash } = found;
    const answer = await answerPut(c, found);
    await admit(c, owner);
    await publish(c, stored, place, hash, (object) => object.pointVersion({ kind, name, hash }));
    return answer;
  }
  const fields = validate(schemas.fields, json);
  const bytes = write(fields);
  if (bytes.length > maxBytes) throw tooLarge(maxBytes);
  const hash = await versionHashOf(bytes);
  const answer = await answerPut(c, { name, hash, owner, value: stored.read(bytes) });
  await admit(c, owner);
  const { description = null } = fields;
  await publish(c, stored, place, hash, (object) => object.putVersion({ kind, name, hash, bytes, description }));
  return answer;
}

/** @returns the owners of the names that the caller sees, in the order in which they are looked up. */
export function ownersSeen(c: Context<AppEnv>): string[] {
  return [c.get('identity').account, DEPLOYMENT];
}

/** @returns the owner of what the caller stores. What an admin stores belongs to the deployment. */
function ownerOf(c: Context<AppEnv>): string {
  const identity = c.get('identity');
  return hasScope(identity, 'admin') ? DEPLOYMENT : identity.account;
}

/** @returns the name of an owner in answers. */
export function ownerName(owner: string): Owner {
  return owner === DEPLOYMENT ? 'deployment' : 'account';
}

/** @returns what a name means to the caller, and who owns it. Asks the objects, which are never behind. */
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
async function listNames(c: Context<AppEnv>, kind: string) {
  const page = readPage(c.req.query());
  const owners = ownersSeen(c);
  const lists = await Promise.all(owners.map((owner) => objectOf(c, owner)((o) => o.storedNames(kind, page))));
  const rows = new Map<string, NamedRow>();
  // The account's own names come last, so that they replace the deployment's.
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
 * @throws ApiError 404 if the caller sees no such name
 */
async function historyOf<T>(
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
 * @throws ApiError 404 if the caller sees no such name or version
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

/** @returns the reader of stored versions for a request. */
export function readerOf(c: Pick<Context<AppEnv>, 'get' | 'env'>): StoredReader {
  return { account: c.get('identity').account, accounts: c.env, store: c.env.STORE, settings: c.get('settings') };
}

/**
 * Finds the stored version, of the same owner, to which a name should point from now on.
 *
 * @throws ApiError 400 for a version of another name, 404 for an unknown one
 */
async function versionOf<T>(
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

/**
 * Stores a version or a pointer in the owner's object, which copies it to KV before anybody is answered.
 *
 * @throws ApiError 400 if there is no room, 404 for an unknown version, 503 while KV accepts nothing
 */
async function publish<T>(
  c: Context<AppEnv>,
  stored: StoredKind<T>,
  place: VersionPlace,
  hash: string,
  store: (object: Remote<AccountObject>) => Promise<PutAnswer>,
): Promise<void> {
  const memory = memoryOf(stored, c.get('settings'));
  const answer = await objectOf(c, place.owner)(store).finally(() => memory.forget(place));
  if (answer.outcome === 'unknown') throw stored.unknown(`${place.name}@${hash}`);
  if (answer.outcome === 'full') {
    throw invalidRequest(
      'There is no room for more: 1,000 names, and what the limit stored_bytes allows. Delete some first.',
    );
  }
  if (!answer.published) throw kvUnavailable();
  memory.believe(place, hash);
}

/**
 * Deletes a name of the caller.
 *
 * @throws ApiError 404 if there is none, 503 while KV accepts nothing
 */
async function removeName<T>(c: Context<AppEnv>, stored: StoredKind<T>, name: string): Promise<void> {
  const { kind } = stored;
  const owner = ownerOf(c);
  const place = { kind, owner, name };
  const memory = memoryOf(stored, c.get('settings'));
  const removing = objectOf(c, owner)((object) => object.removeName(kind, name));
  const { existed, published } = await removing.finally(() => memory.forget(place));
  if (!published) throw kvUnavailable();
  if (!existed) throw stored.unknown(name);
  memory.believe(place, null);
}
