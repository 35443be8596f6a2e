import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { DEPLOYMENT, isAccount } from '../../auth/identity/identity.ts';
import { route } from '../../auth/route.ts';
import { CLASSIFIERS } from '../../classify/task/classifier.ts';
import { agentKind } from '../../conversations/object/initial-context.ts';
import { decoder, encoder } from '../../kit/http/bytes.ts';
import { invalidRequest, notFound } from '../../kit/http/errors.ts';
import { createList, readPage } from '../../kit/http/page.ts';
import { validate } from '../../kit/http/validate.ts';
import { CLOSE_OBJECT } from '../../kit/json/characters.ts';
import { parseRef } from '../../kit/kv/version-ref.ts';
import { readJson } from '../../money/admission/read-body.ts';
import { objectOf } from '../../money/contracts/call-account.ts';
import { versionHashOf } from '../../money/versions/kv-copies.ts';
import { PREFIXES } from '../../registry/prefixes/prefix-kind.ts';
import { rejectWithdrawn, type StoredKind } from '../../registry/versions/find-stored.ts';
import { createReader, updateName } from '../../registry/versions/versioned-routes.ts';
import { storedShapes, versionBackup, versionOwner } from './version-backup.schema.ts';

const CONTENT = ',"content":';
/** The longest beginning of a backup in bytes, before the content: what else it has is short. */
const LONGEST_HEAD = 4_096;

/** The routes by which an admin moves versions of stored things, of any owner, to another deployment. */
export const VERSION_BACKUP_ROUTES = [
  route('GET /versions/:kind', { needs: 'admin', pages: true, query: versionOwner }, async (c, { query }) => {
    const { account = null } = validate(query, c.req.query());
    const { kind } = kindOfPath(c);
    const page = readPage(c.req.query());
    const found = await objectOf(c, parseOwner(account))((one) => one.storedNames(kind, page));
    const rows = found.map(({ name, hash }) => ({ type: kind, id: name, version: `${name}@${hash}` }));
    const names = page.before_id === undefined ? rows.slice(0, page.limit) : rows.slice(-page.limit);
    return c.json(createList(names, rows.length > page.limit, ({ id }) => id));
  }),
  route('GET /versions/:kind/:version/backup', { needs: 'admin', query: versionOwner }, async (c, { query }) => {
    const { account = null } = validate(query, c.req.query());
    const stored = kindOfPath(c);
    const { kind } = stored;
    const ref = c.req.param('version');
    const object = objectOf(c, parseOwner(account));
    const { name = '', hash: wanted } = parseRef(ref) ?? {};
    const current = (await object((one) => one.storedName(kind, name)))?.hash;
    const hash = wanted ?? current ?? '';
    const bytes = await object((one) => one.readVersion({ kind, name, hash }, true));
    if (!bytes) {
      await rejectWithdrawn(stored, createReader(c), { owner: parseOwner(account), name, hash });
      throw notFound(`There is no ${kind} ${ref} here: it was never stored, or it was deleted.`);
    }
    const stored_at = (await object((one) => one.storedAt({ kind, name, hash }))) ?? 0;
    const isCurrent = current === hash;
    const head = { type: 'version_backup', kind, account, version: `${name}@${hash}`, current: isCurrent, stored_at };
    const text = `${JSON.stringify(head).slice(0, -1)},"content":${decoder.decode(bytes)}}`;
    return c.body(text, 200, { 'content-type': 'application/json' });
  }),
  route('PUT /versions/:kind/:version/backup', { needs: 'admin', body: versionBackup }, async (c, { body }) => {
    const stored = kindOfPath(c);
    const { json, bytes: sent } = await readJson(c);
    const { account, version, current, stored_at, content, kind } = validate(body, json);
    if (kind !== stored.kind || version !== c.req.param('version'))
      throw invalidRequest(`version: this is a backup of the ${kind} ${version}. Send it to its own version.`);
    const { name = '', hash = '' } = parseRef(version) ?? {};
    const bytes = readContent(sent);
    if ((await versionHashOf(bytes)) !== hash)
      throw invalidRequest('content: it is not what this version was stored with. Send what GET has given, unchanged.');
    validate(storedShapes[kind], content, 'content');
    const owner = parseOwner(account);
    const description = typeof content.description === 'string' ? content.description : null;
    const restored = { kind, name, hash, bytes, description };
    await updateName(c, stored, { kind, owner, name }, version, (object) =>
      object.restoreVersion(restored, stored_at, current),
    );
    return c.json({ type: 'version_restored', kind, version });
  }),
];

/** @returns the bytes of the content, which `GET` writes last: not a copy, since there may be 20 MB of them */
function readContent(sent: Uint8Array): Uint8Array {
  const head = decoder.decode(sent.subarray(0, LONGEST_HEAD)).split(CONTENT, 1)[0] ?? '';
  return sent.subarray(encoder.encode(head).length + CONTENT.length, sent.lastIndexOf(CLOSE_OBJECT));
}

/** @throws ApiError 404 for what has no versions, 409 for agents where their plugin is not */
function kindOfPath(c: Context<AppEnv>): StoredKind<unknown> {
  const kind = c.req.param('kind');
  if (kind === 'agent') return agentKind() as StoredKind<unknown>;
  if (kind === PREFIXES.kind) return PREFIXES as StoredKind<unknown>;
  if (kind === CLASSIFIERS.kind) return CLASSIFIERS as StoredKind<unknown>;
  throw notFound('Versions are of the kinds prefix, classifier and agent.');
}

/** @throws ApiError 404 for what can be no account */
function parseOwner(account: string | null): string {
  if (account !== null && !isAccount(account)) throw notFound('There is no such account.');
  return account ?? DEPLOYMENT;
}
