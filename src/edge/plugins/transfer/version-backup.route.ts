import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { DEPLOYMENT, isAccountName } from '../../auth/identity/identity.ts';
import { defineRoute } from '../../auth/route.ts';
import { CLASSIFIERS } from '../../classify/task/classifier.ts';
import { getAgentKind } from '../../conversations/object/initial-context.ts';
import { decoder, encoder } from '../../kit/http/bytes.ts';
import { createInvalidRequestError, createNotFoundError } from '../../kit/http/errors.ts';
import { createListResponse, parsePageQuery } from '../../kit/http/page.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { CLOSE_OBJECT } from '../../kit/json/characters.ts';
import { parseVersionRef } from '../../kit/kv/version-ref.ts';
import { readJsonBody } from '../../money/admission/read-body.ts';
import { createChangeOrigin } from '../../money/changes/change-origin.ts';
import { createOwnerCaller } from '../../money/contracts/call-account.ts';
import { computeVersionHash } from '../../money/versions/kv-copies.ts';
import { PREFIXES } from '../../registry/prefixes/prefix-kind.ts';
import { rejectWithdrawnVersion, type StoredResourceKind } from '../../registry/versions/find-stored.ts';
import { createVersionReader, updateStoredName } from '../../registry/versions/versioned-routes.ts';
import { storedShapes, versionBackup, versionOwner } from './version-backup.schema.ts';

const CONTENT = ',"content":';
/** The longest beginning of a backup in bytes, before the content: what else it has is short. */
const LONGEST_HEAD = 4_096;

/** The routes by which an admin moves versions of stored things, of any owner, to another deployment. */
export const VERSION_BACKUP_ROUTES = [
  defineRoute(
    'GET /versions/:kind',
    { needs: ['admin:read', 'admin:backup'], pages: true, query: versionOwner },
    async (c, { query }) => {
      const { account = null } = validateBySchema(query, c.req.query());
      const { kind } = requireStoredKindParam(c);
      const page = parsePageQuery(c.req.query());
      const found = await createOwnerCaller(c, parseVersionOwner(account))((one) => one.listVersionedNames(kind, page));
      const rows = found.map(({ name, hash }) => ({ type: kind, id: name, version: `${name}@${hash}` }));
      const names = page.before_id === undefined ? rows.slice(0, page.limit) : rows.slice(-page.limit);
      return c.json(createListResponse(names, rows.length > page.limit, ({ id }) => id));
    },
  ),
  defineRoute(
    'GET /versions/:kind/:version/backup',
    { needs: 'admin:backup', query: versionOwner },
    async (c, { query }) => {
      const { account = null } = validateBySchema(query, c.req.query());
      const stored = requireStoredKindParam(c);
      const { kind } = stored;
      const ref = c.req.param('version');
      const object = createOwnerCaller(c, parseVersionOwner(account));
      const { name = '', hash: wanted } = parseVersionRef(ref) ?? {};
      const current = (await object((one) => one.findVersionedName(kind, name)))?.hash;
      const hash = wanted ?? current ?? '';
      const bytes = await object((one) => one.readVersion({ kind, name, hash }, true));
      if (!bytes) {
        await rejectWithdrawnVersion(stored, createVersionReader(c), { owner: parseVersionOwner(account), name, hash });
        throw createNotFoundError(`The ${kind} ${ref} does not exist in this deployment. Check its name and version.`);
      }
      const stored_at = (await object((one) => one.findVersionStoredAt({ kind, name, hash }))) ?? 0;
      const isCurrent = current === hash;
      const head = { type: 'version_backup', kind, account, version: `${name}@${hash}`, current: isCurrent, stored_at };
      const text = `${JSON.stringify(head).slice(0, -1)},"content":${decoder.decode(bytes)}}`;
      return c.body(text, 200, { 'content-type': 'application/json' });
    },
  ),
  defineRoute('PUT /versions/:kind/:version/backup', { needs: 'admin', body: versionBackup }, async (c, { body }) => {
    const stored = requireStoredKindParam(c);
    const { json, bytes: sent } = await readJsonBody(c);
    const { account, version, current, stored_at, content, kind } = validateBySchema(body, json);
    if (kind !== stored.kind || version !== c.req.param('version'))
      throw createInvalidRequestError(
        `version: this is a backup of the ${kind} ${version}. Send it to the path of this version.`,
      );
    const { name = '', hash = '' } = parseVersionRef(version) ?? {};
    const bytes = extractVersionContent(sent);
    if ((await computeVersionHash(bytes)) !== hash)
      throw createInvalidRequestError(
        'content: does not match this version. Send the response of GET on this path unchanged.',
      );
    validateBySchema(storedShapes[kind], content, 'content');
    const owner = parseVersionOwner(account);
    const description = typeof content.description === 'string' ? content.description : null;
    const restored = { kind, name, hash, bytes, description };
    await updateStoredName(c, stored, { kind, owner, name }, version, (object) =>
      object.restoreVersion(restored, stored_at, current, createChangeOrigin(c)),
    );
    return c.json({ type: 'version_restored', kind, version });
  }),
];

/** @returns the bytes of the content, which `GET` writes last: not a copy, since there may be 20 MB of them */
function extractVersionContent(sent: Uint8Array): Uint8Array {
  const head = decoder.decode(sent.subarray(0, LONGEST_HEAD)).split(CONTENT, 1)[0] ?? '';
  return sent.subarray(encoder.encode(head).length + CONTENT.length, sent.lastIndexOf(CLOSE_OBJECT));
}

/** @throws ApiError 404 for a resource without versions, 409 for agents if their plugin is not included */
function requireStoredKindParam(c: Context<AppEnv>): StoredResourceKind<unknown> {
  const kind = c.req.param('kind');
  if (kind === 'agent') return getAgentKind() as StoredResourceKind<unknown>;
  if (kind === PREFIXES.kind) return PREFIXES as StoredResourceKind<unknown>;
  if (kind === CLASSIFIERS.kind) return CLASSIFIERS as StoredResourceKind<unknown>;
  throw createNotFoundError('The kind of a version must be prefix, classifier or agent.');
}

/** @throws ApiError 404 for what can be no account */
function parseVersionOwner(account: string | null): string {
  if (account !== null && !isAccountName(account))
    throw createNotFoundError('This account does not exist. Check its id.');
  return account ?? DEPLOYMENT;
}
