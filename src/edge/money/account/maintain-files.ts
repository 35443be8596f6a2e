/** Looks after an account's files by its alarm: deletes them upstream, finds out how uploads have ended, and forgets containers. */

import { readBufferedBody } from '../../claude/buffered-response.ts';
import { UpstreamExchange } from '../../claude/exchange.ts';
import { getUpstreamBySettings } from '../../claude/upstream.ts';
import { DAY_MS, HOUR_MS } from '../../kit/async/durations.ts';
import { type JsonObject, parseJsonObject } from '../../kit/json/object.ts';
import type { UploadReport } from '../contracts/ownership.ts';
import { type ResourceWithDueWork, SKEW_MS, UPLOAD_MS } from '../lists/ownership-list.ts';
import type { AccountState } from './account-state.ts';

/**
 * How many files are processed at the same time. (An object may have six open connections:
 * https://developers.cloudflare.com/workers/platform/limits/)
 */
const CONCURRENT_FILES = 5;
const INITIAL_RETRY_MS = 1_000;
const MAX_RETRY_MS = HOUR_MS;
/** How often to check an upload whose end is not known. */
const CHECK_INTERVAL_MS = DAY_MS;
const UPSTREAM_CALL_MS = 30_000;
/** The most bytes that a form has beside the file. */
export const MAX_FORM_OVERHEAD_BYTES = 4_096;
const MAX_PAGES = 20;
const PAGE_SIZE = 1_000;

/** Records how an upload has ended. If it began before the account was erased, its file must be deleted. */
export function recordUploadEnd(state: AccountState, report: UploadReport): void {
  const isErased = report.at <= state.erasedUntil;
  state.ownership.finishUpload(report, isErased);
  if (isErased) state.alarm.scheduleAt(state.now() + INITIAL_RETRY_MS, INITIAL_RETRY_MS);
}

/** Runs the due work, and sets the alarm for the rest. It never throws. */
export async function runDueFileWork(state: AccountState): Promise<void> {
  const { ownership } = state;
  let { findNextDueTime: dueAt } = ownership;
  if (dueAt !== undefined && dueAt <= state.now()) {
    const rows = ownership.listFilesWithDueWork(state.now(), CONCURRENT_FILES);
    await Promise.all(rows.map((row) => runDueWorkOfFile(state, row)));
    dueAt = ownership.findNextDueTime;
  }
  if (dueAt !== undefined) state.alarm.scheduleAt(dueAt, INITIAL_RETRY_MS);
}

async function runDueWorkOfFile(state: AccountState, row: ResourceWithDueWork): Promise<void> {
  const { ownership } = state;
  const { id, tries } = row;
  try {
    if (row.state === 'kept') ownership.deleteRow(id);
    else if (row.state === 'erasing') {
      await deleteFileAtUpstream(state, row);
      ownership.deleteRow(id);
    } else if ((await mightUploadHaveLeftFile(state, row)) && row.created_at > state.erasedUntil) {
      ownership.postponeFileWork(id, state.now() + CHECK_INTERVAL_MS);
    } else ownership.deleteRow(id);
    state.retries.recordSuccess('file', id);
  } catch (thrown) {
    // Retry after any failure, even a 4xx: the cause may be the operator's, such as an expired key, and last for a while.
    const nextAt = state.now() + Math.min(INITIAL_RETRY_MS * 2 ** tries, MAX_RETRY_MS);
    ownership.postponeFileWork(id, nextAt);
    state.retries.recordFailure('file', thrown, nextAt, { subject: id, attempts: tries + 1 });
  }
}

/** @throws Error unless the file is gone */
async function deleteFileAtUpstream(state: AccountState, { id, upstream }: ResourceWithDueWork): Promise<void> {
  const { status } = await callFilesApi(state, 'DELETE', `/v1/files/${encodeURIComponent(id)}`, upstream);
  if (status >= 300 && status !== 404) throw new Error(`the upstream answered ${status}`);
}

/**
 * Checks whether an upload whose answer was lost may have left a file: an unknown file of the same size and time. The owner of
 * that file is unknown, so it is never deleted or given to an account, and its bytes stay counted. If there is no such file,
 * nothing is counted.
 */
async function mightUploadHaveLeftFile(state: AccountState, row: ResourceWithDueWork): Promise<boolean> {
  const from = row.created_at - SKEW_MS;
  const to = row.created_at + UPLOAD_MS + SKEW_MS;
  let query = '';
  for (let page = 0; page < MAX_PAGES; page++) {
    const { status, json } = await callFilesApi(state, 'GET', `/v1/files?limit=${PAGE_SIZE}${query}`, row.upstream);
    if (status !== 200 || !Array.isArray(json?.data)) throw new Error(`the upstream answered ${status} to a list`);
    const list = json;
    const files = list.data as { id: string; size_bytes: number; created_at: string }[];
    const alike = files.filter(({ size_bytes: bytes, created_at }) => {
      const at = Date.parse(created_at);
      return (
        at >= from &&
        at <= to &&
        bytes <= row.bytes &&
        (row.is_exact === 0 || bytes >= row.bytes - MAX_FORM_OVERHEAD_BYTES)
      );
    });
    const ownIds = new Set(state.ownership.findOwnedResources(alike.map(({ id }) => id)).map(({ id }) => id));
    if (alike.some(({ id }) => !ownIds.has(id))) return true;
    const isPast = files.some(({ created_at }) => Date.parse(created_at) < from);
    const next = typeof list.next_page === 'string' ? `&page=${encodeURIComponent(list.next_page)}` : undefined;
    if (isPast || next === undefined) return false;
    query = next;
  }
  return true;
}

/** Calls the upstream about files. @returns the status, and the body if it is a JSON object */
async function callFilesApi(
  state: AccountState,
  method: string,
  path: string,
  name: string,
): Promise<{ status: number; json: JsonObject | undefined }> {
  const settings = state.settings();
  const upstream = getUpstreamBySettings(settings);
  const exchange = new UpstreamExchange({
    upstream,
    settings,
    timeoutMs: UPSTREAM_CALL_MS,
    wholeMs: 2 * UPSTREAM_CALL_MS,
  });
  const headers = {
    'x-api-key': upstream.apiKey,
    'anthropic-version': '2023-06-01',
    'anthropic-beta': 'files-api-2025-04-14',
  };
  const routing = { streams: false, isQuick: true, ...(name === '' ? {} : { requiredUpstream: name }) };
  try {
    const response = await exchange.sendToUpstream({ method, path, headers, routing }, { maxRetries: 0 });
    const body = await readBufferedBody(response, exchange);
    return { status: response.status, json: parseJsonObject(body) };
  } finally {
    exchange.closeExchange();
  }
}
