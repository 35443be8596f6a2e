import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import { defineRoute } from '../../auth/route.ts';
import { relayRequest } from '../../claude/relay.ts';
import { getUpstreamOfContext, type Upstream } from '../../claude/upstream.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { createListResponse } from '../../kit/http/page.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { parseJsonOrUndefined } from '../../kit/json/parse.ts';
import { admitRequestWithoutCost } from '../../money/admission/admit-free.ts';
import { requireResourcesOwnedByAccount } from '../../money/admission/check-owned.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import type { FileRow } from '../../money/contracts/ownership.ts';
import { downloadFile } from './download-file.ts';
import { describedFiles, filesQuery, parseFileDescription } from './files.schema.ts';
import { uploadFile } from './upload-file.ts';

const MOST_FILE_IDS = 100;
/** As the API forms its ids: nothing else may get into a path of the upstream. */
const FILE_ID = /^[A-Za-z0-9_-]{1,128}$/;

/** The Files API: each file belongs to the account that made it, and is at the upstream where it was made. */
export const FILE_ROUTES = [
  defineRoute('POST /v1/files', { needs: 'messages' }, (c) =>
    admitAndAddQuotaHeaders(c, () => uploadFile(c, getUpstreamOfContext(c))),
  ),
  defineRoute('GET /v1/files', { needs: 'messages', query: filesQuery }, (c, { query }) =>
    admitAndAddQuotaHeaders(c, () => listFiles(c, getUpstreamOfContext(c), query)),
  ),
  defineRoute('GET /v1/files/:id', { needs: 'messages' }, (c) =>
    admitAndAddQuotaHeaders(c, () => retrieveOrDeleteFile(c, getUpstreamOfContext(c))),
  ),
  defineRoute('GET /v1/files/:id/content', { needs: 'messages' }, (c) =>
    admitAndAddQuotaHeaders(c, async () => {
      const { id, upstreamName } = await requireOwnFile(c);
      return await downloadFile(c, getUpstreamOfContext(c), { id, upstreamName });
    }),
  ),
  defineRoute('DELETE /v1/files/:id', { needs: 'messages', endsSpending: true }, (c) =>
    retrieveOrDeleteFile(c, getUpstreamOfContext(c)),
  ),
];

/** Has the account admit a request, and reports the account's quota in the response. */
async function admitAndAddQuotaHeaders(c: Context<AppEnv>, answer: () => Promise<Response>): Promise<Response> {
  const standing = await admitRequestWithoutCost(c);
  const { body, status, headers } = await answer();
  const all = new Headers(headers);
  for (const [name, value] of Object.entries(standing)) all.set(name, value);
  return new Response(body, { status, headers: all });
}

/** @returns the file that a path names, and where it is. @throws ApiError 404 unless it is the account's own */
async function requireOwnFile(c: Context<AppEnv>): Promise<{ id: string; upstreamName: string | undefined }> {
  const id = c.req.param('id') ?? '';
  return {
    id,
    upstreamName: await requireResourcesOwnedByAccount(getRequestContext(c), [
      { kind: 'file', id: FILE_ID.test(id) ? id : '' },
    ]),
  };
}

/** Relays a call about one file, or some, to the upstream that has them. */
async function relayFileCall(
  c: Context<AppEnv>,
  upstream: Upstream,
  path: string,
  requiredUpstream: string | undefined,
) {
  const { settings, requestId, waitUntil } = getRequestContext(c);
  const routing = { streams: false, isQuick: true, requiredUpstream };
  return await relayRequest({ path, caller: c.req.raw, routing }, { upstream, settings, requestId, waitUntil });
}

async function retrieveOrDeleteFile(c: Context<AppEnv>, upstream: Upstream): Promise<Response> {
  const { id, upstreamName } = await requireOwnFile(c);
  const response = await relayFileCall(c, upstream, `/v1/files/${id}`, upstreamName);
  const isDeleted = response.ok && c.req.method === 'DELETE';
  // Record the deletion after a 404, too: another call has deleted the file already.
  if (isDeleted || response.status === 404)
    await callAccount(getRequestContext(c), (account) => account.recordFileDeletion(id));
  return response;
}

/** Lists the account's own files, newest first, as they were described when they were made. */
async function listFiles(c: Context<AppEnv>, upstream: Upstream, schema: typeof filesQuery): Promise<Response> {
  const context = getRequestContext(c);
  const query = c.req.queries();
  const ids = [...new Set([...(query.ids ?? []), ...(query['ids[]'] ?? [])])];
  if (ids.length > 0) return Response.json(await listOwnFilesByIds(c, upstream, ids));
  const { page, after_id, before_id, limit } = validateBySchema(schema, c.req.query());
  if ([page, after_id, before_id].filter((cursor) => cursor !== undefined).length > 1) {
    throw createInvalidRequestError('Send only one of page, after_id and before_id.');
  }
  const rows = await callAccount(context, (account) => account.files({ limit, after_id: page ?? after_id, before_id }));
  const data = await getFileDescriptions(c, upstream, rows.data);
  const next = rows.has_more && before_id === undefined ? rows.last_id : null;
  return Response.json({ ...rows, data, next_page: next });
}

/** @returns the descriptions of those of some files that are the account's */
async function listOwnFilesByIds(c: Context<AppEnv>, upstream: Upstream, ids: readonly string[]) {
  if (ids.length > MOST_FILE_IDS)
    throw createInvalidRequestError(
      `ids: List should have at most ${MOST_FILE_IDS} items. Split them into several requests.`,
    );
  if (c.req.query('page') !== undefined || c.req.query('limit') !== undefined) {
    throw createInvalidRequestError('ids: not supported with page or limit. Remove one of them.');
  }
  const own = await callAccount(getRequestContext(c), (account) => account.ownership(ids));
  const files = own.filter(({ kind }) => kind === 'file');
  const data = await getFileDescriptions(
    c,
    upstream,
    files.map(({ id, upstream: name }) => ({ id, upstream: name, text: null })),
  );
  return { ...createListResponse(data, false, ({ id }) => id), next_page: null };
}

/** @returns the descriptions of files. Missing ones are fetched, with one call for each upstream */
async function getFileDescriptions(
  c: Context<AppEnv>,
  upstream: Upstream,
  rows: readonly FileRow[],
): Promise<{ id: string }[]> {
  const found = new Map<string, { id: string }>();
  const unknown = new Map<string, string[]>();
  for (const { id, upstream: name, text } of rows) {
    if (text !== null) found.set(id, parseJsonOrUndefined(text) as { id: string });
    else unknown.set(name, [...(unknown.get(name) ?? []), id]);
  }
  for (const [name, ids] of unknown) {
    for (let at = 0; at < ids.length; at += MOST_FILE_IDS) {
      const some = ids.slice(at, at + MOST_FILE_IDS);
      for (const file of await fetchAndStoreDescriptions(c, upstream, name, some)) found.set(file.id, file);
    }
  }
  return rows.flatMap(({ id }) => found.get(id) ?? []);
}

async function fetchAndStoreDescriptions(c: Context<AppEnv>, upstream: Upstream, name: string, ids: readonly string[]) {
  const { settings, requestId, waitUntil, ...context } = getRequestContext(c);
  const query = new URLSearchParams(ids.map((id) => ['ids[]', id]));
  const caller = new Request(`${c.req.url.split('?', 1)[0]}?${query}`, c.req.raw);
  const routing = { streams: false, isQuick: true, ...(name === '' ? {} : { requiredUpstream: name }) };
  const response = await relayRequest(
    { path: '/v1/files', caller, routing },
    { upstream, settings, requestId, waitUntil },
  );
  const { data: files = [] } = describedFiles.safeParse(response.ok ? await response.json() : undefined).data ?? {};
  // Select the requested ids again, because a gateway may ignore the query and return the files of all accounts.
  const named = files.filter(({ id }) => ids.includes(id));
  for (const file of named) {
    const description = parseFileDescription(file);
    const request = { ...context, settings };
    if (description) await callAccount(request, (account) => account.describeFile(description));
  }
  return named;
}
