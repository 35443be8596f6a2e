/** Makes the routes that prefixes, classifiers and agents share: names, versions, and owners. */
import type { Context } from 'hono';
import { hasScope } from '../../auth/authenticate.ts';
import type { AppEnv } from '../../auth/context.ts';
import { DEPLOYMENT, type Scope } from '../../auth/identity/identity.ts';
import { defineRoute } from '../../auth/route.ts';
import type { RemoteMethods } from '../../durable/call-object.ts';
import type { ListPage } from '../../durable/page.ts';
import { createInvalidRequestError, createNonRetryableError, createTooLargeError } from '../../kit/http/errors.ts';
import { createListResponse, parsePageQuery } from '../../kit/http/page.ts';
import { requireWellFormedStrings } from '../../kit/http/require-well-formed.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import type * as z from '../../kit/http/zod.ts';
import { isValidVersionedName, NAME_RULE, parseVersionRef } from '../../kit/kv/version-ref.ts';
import { type ChangeOrigin, createChangeOrigin, logChange } from '../../money/changes/change-origin.ts';
import type { VersionedKind } from '../../money/changes/changes-answers.schema.ts';
import type { AccountObject, VersionChangeOutcome, VersionedNameRow } from '../../money/contracts/account.ts';
import { createOwnerCaller } from '../../money/contracts/call-account.ts';
import {
  computeVersionHash,
  createKvUnavailableError,
  createWithdrawnVersionError,
  type FoundVersion,
  type OwnedName,
} from '../../money/versions/kv-copies.ts';
import {
  createUnknownVersionError,
  findNearestStoredName,
  findStoredVersion,
  findVersionByHash,
  getVersionMemory,
  requireStoredVersion,
  type StoredResourceKind,
  type VersionReader,
} from './find-stored.ts';
import { pinnedField } from './versions.schema.ts';
import type { NamedResourceRow, VersionOwner, VersionRow } from './versions-answers.schema.ts';

/** The definition of one kind of resource for its routes. `T` is a version's value, `F` its schema in a `PUT`. */
export interface VersionedRouteDefinition<
  T,
  F extends z.ZodMiniType<{ description?: string | undefined }>,
  Path extends string,
> {
  stored: StoredResourceKind<T, Path>;
  /** The scope for reading. The scope for writing is `prefixes`. */
  scope: Scope;
  /** The two bodies that a `PUT` takes: a new version, or one that is stored already. */
  schemas: { fields: F; pointer: z.ZodMiniType<{ version: string }> };
  maxBytes: number;
  /** Reads the body of a `PUT`, which must be a JSON object. @param warn called for what is stored otherwise than it was sent */
  readPutBody(c: Context<AppEnv>, warn: (sentence: string) => void): Promise<object>;
  /** Writes a new version in its stored form. */
  serializeVersion(fields: z.output<F>): Uint8Array;
  /** Answers a `GET` of one version. */
  createGetResponse(c: Context<AppEnv>, version: FoundVersion<T>): Response;
  /** Answers a `PUT`. If it throws, the version is not stored. @param warnings those of `readBody` */
  createPutResponse(
    c: Context<AppEnv>,
    version: FoundVersion<T>,
    warnings: readonly string[],
  ): object | Promise<object>;
  /** Requests the account's admission before anything is stored. */
  admitPut(c: Context<AppEnv>, owner: string): Promise<void>;
}

/** Makes the routes that every kind of named things has: list, put, get, list versions, delete, withdraw. */
export function createVersionedRoutes<
  T,
  F extends z.ZodMiniType<{ description?: string | undefined }>,
  Path extends `/${string}`,
>(definition: VersionedRouteDefinition<T, F, Path>) {
  const { stored, scope } = definition;
  const { kind, path } = stored;
  return [
    defineRoute(`GET ${path}`, { needs: scope, pages: true }, async (c) => c.json(await listVisibleNames(c, kind))),
    defineRoute(`PUT ${path}/:name`, { needs: 'prefixes' }, async (c) => c.json(await handlePutVersion(c, definition))),
    defineRoute(`GET ${path}/:name/versions`, { needs: scope, pages: true }, async (c) =>
      c.json(await listVersionsOfName(c, stored, getNameParameter(c))),
    ),
    defineRoute(`GET ${path}/:name`, { needs: scope }, async (c) =>
      definition.createGetResponse(c, await requireRequestedVersion(c, stored, getNameParameter(c))),
    ),
    defineRoute(`DELETE ${path}/:name`, { needs: 'prefixes', endsSpending: true }, async (c) => {
      const name = getNameParameter(c);
      await updateStoredName(c, stored, getWritableOwnedName(c, kind, name), name, (object) =>
        object.removeName(kind, name, createAdminOrigin(c)),
      );
      return c.json({ type: `${kind}_deleted`, name });
    }),
    defineRoute(
      `DELETE ${path}/:name/versions/:hash`,
      { needs: 'prefixes', endsSpending: true },
      async (c: Context<AppEnv>) => {
        const { name = '', hash = '' } = c.req.param();
        const version = `${name}@${hash}`;
        if (!parseVersionRef(version)) throw createUnknownVersionError(stored, version);
        const id = { kind, name, hash };
        await updateStoredName(c, stored, getWritableOwnedName(c, kind, name), version, (object) =>
          object.withdrawVersion(id, createAdminOrigin(c)),
        );
        return c.json({ type: `${kind}_version_withdrawn`, version });
      },
    ),
  ];
}

function getNameParameter(c: Context<AppEnv>): string {
  return c.req.param('name') ?? '';
}

/**
 * The read-only fields of a `GET`. A `PUT` ignores them, so that its answer can be sent back. `version` is one of them where other
 * fields stand beside it; by itself it points the name to that version.
 */
const READ_ONLY_FIELDS = ['type', 'name', 'owner', 'created_at', 'updated_at'];

/** Stores a version under a name, or points the name to a version that is stored already. */
async function handlePutVersion<T, F extends z.ZodMiniType<{ description?: string | undefined }>>(
  c: Context<AppEnv>,
  {
    stored,
    schemas,
    maxBytes,
    readPutBody: readBody,
    serializeVersion: write,
    createPutResponse: answerPut,
    admitPut: admit,
  }: VersionedRouteDefinition<T, F, string>,
): Promise<object> {
  const { kind } = stored;
  const name = c.req.param('name') ?? '';
  if (!isValidVersionedName(name)) throw createInvalidRequestError(`The name of the ${kind} must be ${NAME_RULE}.`);
  const ownedName = getWritableOwnedName(c, kind, name);
  const { owner } = ownedName;
  const warnings: string[] = [];
  const { pinned: wanted, ...sent }: { pinned?: unknown } = await readBody(c, (sentence) => warnings.push(sentence));
  requireWellFormedStrings(sent);
  const { pinned } = validateBySchema(pinnedField, { pinned: wanted });
  const { version: pointed, ...json } = removeReadOnlyFields(sent);
  if (pointed !== undefined && Object.keys(json).length === 0) {
    const found = await requirePointableVersion(
      c,
      stored,
      ownedName,
      validateBySchema(schemas.pointer, { version: pointed }).version,
    );
    const { hash } = found;
    const answer = await answerPut(c, found, warnings);
    await admit(c, owner);
    const id = { kind, name, hash, pinned };
    await updateStoredName(c, stored, ownedName, `${name}@${hash}`, (object) =>
      object.pointVersion(id, createAdminOrigin(c)),
    );
    return answer;
  }
  const fields = validateBySchema(schemas.fields, json);
  const bytes = write(fields);
  if (bytes.length > maxBytes) throw createTooLargeError(maxBytes);
  const hash = await computeVersionHash(bytes);
  const answer = await answerPut(c, { name, hash, owner, value: await stored.read(bytes) }, warnings);
  await admit(c, owner);
  const { description = null } = fields;
  const version = { kind, name, hash, bytes, description, pinned };
  await updateStoredName(c, stored, ownedName, `${name}@${hash}`, (object) =>
    object.putVersion(version, createAdminOrigin(c)),
  );
  return answer;
}

function removeReadOnlyFields(sent: object): { version?: unknown } {
  return Object.fromEntries(Object.entries(sent).filter(([field]) => !READ_ONLY_FIELDS.includes(field)));
}

/** @returns the owners of the names that the caller sees, in the order in which they are looked up. */
function listVisibleOwners(c: Context<AppEnv>): string[] {
  return [c.get('identity').account, DEPLOYMENT];
}

/** @returns a name among those that the caller stores. What an admin stores belongs to the deployment. */
function getWritableOwnedName(c: Context<AppEnv>, kind: string, name: string): OwnedName {
  const identity = c.get('identity');
  return { kind, owner: hasScope(identity, 'admin') ? DEPLOYMENT : identity.account, name };
}

/** @returns the admin who changes a name. What accounts store for themselves is not in the list of changes. */
function createAdminOrigin(c: Context<AppEnv>): ChangeOrigin | undefined {
  return hasScope(c.get('identity'), 'admin') ? createChangeOrigin(c) : undefined;
}

/** @returns the name of an owner in answers. */
export function toOwnerField(owner: string): VersionOwner {
  return owner === DEPLOYMENT ? 'deployment' : 'account';
}

/** @returns what a name means to the caller, and who owns it. Asks the objects, which are never behind. */
async function findVisibleName(
  c: Context<AppEnv>,
  kind: string,
  name: string,
  owners: readonly string[],
): Promise<{ owner: string; row: VersionedNameRow } | undefined> {
  for (const owner of owners) {
    const row = await createOwnerCaller(c, owner)((object) => object.findVersionedName(kind, name));
    if (row) return { owner, row };
  }
  return undefined;
}

/** @returns a page of the names that the caller sees, in their order. */
async function listVisibleNames(c: Context<AppEnv>, kind: string) {
  const page = parsePageQuery(c.req.query());
  const owners = listVisibleOwners(c);
  const lists = await Promise.all(
    owners.map((owner) => createOwnerCaller(c, owner)((o) => o.listVersionedNames(kind, page))),
  );
  const rows = new Map<string, NamedResourceRow>();
  // Go through the owners in reverse, so that the account's own names come last and replace names of the deployment.
  for (const [index, names] of [...lists.entries()].reverse()) {
    const owner = toOwnerField(owners[index] ?? DEPLOYMENT);
    for (const { name, hash, ...row } of names) {
      rows.set(name, { type: kind, name, version: `${name}@${hash}`, owner, ...row });
    }
  }
  const all = [...rows.values()].sort((left, right) => (left.name < right.name ? -1 : 1));
  const { limit, before_id } = page;
  const data = before_id === undefined ? all.slice(0, limit) : all.slice(-limit);
  return createListResponse(data, all.length > limit, ({ name }) => name);
}

/**
 * @returns a page of the versions of a name, newest first
 * @throws ApiError 404 if the caller sees no such name
 */
async function listVersionsOfName<T>(
  c: Context<AppEnv>,
  stored: StoredResourceKind<T>,
  name: string,
): Promise<ListPage<VersionRow>> {
  const page = parsePageQuery(c.req.query());
  for (const owner of listVisibleOwners(c)) {
    const history = await createOwnerCaller(c, owner)((object) => object.listVersions(stored.kind, name, page));
    if (history) return history;
  }
  throw createUnknownVersionError(stored, name);
}

/**
 * @param ref a name, or a version by name@version
 * @param owners the possible owners, in the order of the search
 * @returns the version that it refers to for the caller
 * @throws ApiError 404 if the caller sees no such name or version
 */
export async function requireRequestedVersion<T>(
  c: Context<AppEnv>,
  stored: StoredResourceKind<T>,
  ref: string,
  owners: readonly string[] = listVisibleOwners(c),
): Promise<FoundVersion<T>> {
  const wanted = parseVersionRef(ref);
  const named =
    wanted && wanted.hash === undefined ? await findVisibleName(c, stored.kind, wanted.name, owners) : undefined;
  const found = named
    ? await findVersionByHash(stored, createVersionReader(c), { ...named.row, owner: named.owner })
    : wanted?.hash !== undefined && (await findStoredVersion(stored, createVersionReader(c), wanted, owners));
  if (!found)
    throw createUnknownVersionError(
      stored,
      ref,
      await findNearestStoredName(stored, createVersionReader(c), ref, owners),
    );
  return found;
}

/** @returns the reader of stored versions for a request. */
export function createVersionReader(c: Pick<Context<AppEnv>, 'get' | 'env'>): VersionReader {
  const { account, scopes } = c.get('identity');
  return { account, scopes, accounts: c.env, store: c.env.STORE, settings: c.get('settings') };
}

/**
 * Finds the stored version, of the same owner, to which a name should point from now on.
 *
 * @throws ApiError 400 for a version of another name, 404 for an unknown one
 */
async function requirePointableVersion<T>(
  c: Context<AppEnv>,
  stored: StoredResourceKind<T>,
  { owner, name }: OwnedName,
  version: string,
): Promise<FoundVersion<T>> {
  const ref = parseVersionRef(version);
  if (ref?.name !== name || ref.hash === undefined) {
    throw createInvalidRequestError(`version: Input should be a version of this ${stored.kind}: ${name}@…`);
  }
  return await requireStoredVersion(stored, createVersionReader(c), version, [owner]);
}

/**
 * Changes a name in its owner's object, which copies it to KV before anybody is answered.
 *
 * @param ref the name or the version, for the 404
 * @throws ApiError 400 if a limit is reached, or a version is current; 404 for an unknown one, 503 while KV accepts nothing
 */
export async function updateStoredName<T>(
  c: Context<AppEnv>,
  stored: StoredResourceKind<T>,
  ownedName: OwnedName,
  ref: string,
  change: (object: RemoteMethods<AccountObject>) => Promise<VersionChangeOutcome>,
): Promise<void> {
  const memory = getVersionMemory(stored, c.get('settings'));
  const answer = await createOwnerCaller(c, ownedName.owner)(change).finally(() => memory.dropCachedPointer(ownedName));
  const { kind, name, owner } = ownedName;
  if (answer.outcome === 'stored')
    logChange(c, { type: kind as VersionedKind, id: name, account: owner === DEPLOYMENT ? null : owner }, ['version']);
  switch (answer.outcome) {
    case 'stored':
      if (!answer.published) throw createKvUnavailableError();
      return memory.cachePointer(ownedName, answer.pointer);
    case 'withdrawn':
      throw createWithdrawnVersionError(stored.kind, ref);
    case 'erased':
      throw createNonRetryableError(
        'conflict_error',
        `${ref} was erased with its account, and cannot be restored. Skip it.`,
      );
    case 'unknown':
      throw createUnknownVersionError(stored, ref);
    case 'current':
      throw createInvalidRequestError(
        `${ref} is the current version. First make another version current with PUT ${stored.path}/${ownedName.name}.`,
      );
    case 'too_many_bytes':
      throw createInvalidRequestError(
        `${ref} does not fit into the bytes that the account can store (its limit \`stored_bytes\`). Delete files, conversations or other versions, or ask an admin to raise the limit.`,
      );
    case 'too_many_names':
      throw createInvalidRequestError(
        `The account has 1,000 names of the kind ${stored.kind}, which is the maximum. Delete one with DELETE ${stored.path}/:name.`,
      );
    case 'too_many_withdrawn':
      throw createInvalidRequestError(
        `${ownedName.name} has 1,000 withdrawn versions, which is the maximum. Delete the name with DELETE ${stored.path}/${ownedName.name}, or store new versions under another name.`,
      );
  }
}
