/** What the account's alarm does for its files: it deletes them upstream, and finds out how uploads have ended. */

import { DAY_MS, HOUR_MS } from '../async/durations.ts';
import type { UploadDecision, UploadReport, UploadRequest } from '../durable/contracts/belongings.ts';
import { parseObject } from '../json/object.ts';
import { readBuffered } from '../upstream/buffered-answer.ts';
import { send } from '../upstream/send.ts';
import type { SendProgress } from '../upstream/send-request.ts';
import { upstreamOf } from '../upstream/upstream.ts';
import type { AccountState } from './account-state.ts';
import { type DueRow, UPLOAD_MS } from './belonging-list.ts';

/** An object may have six connections open. */
const AT_ONCE = 5;
const FIRST_TEND_MS = 1_000;
const LONGEST_TEND_MS = HOUR_MS;
/** An upload of which nobody knows how it ended is looked for once a day. */
const LOOK_AGAIN_MS = DAY_MS;
const UPSTREAM_CALL_MS = 30_000;
/** What a form has beside the file, at the most. */
export const FORM_BYTES = 4_096;
/** Clocks differ. */
const SKEW_MS = 60_000;
const MOST_PAGES = 20;
const PAGE = 1_000;

/** Sets bytes aside for a file before any of it goes up: those that are said to come, or all that may. */
export function beginUpload(state: AccountState, upload: UploadRequest, now: number): UploadDecision {
  const { storage, limits, belongings, alarm } = state;
  const begun = belongings.uploading(upload.id);
  if (begun) return { outcome: 'admitted', room: begun.bytes, at: begun.at };
  const { room, most } = storage.roomForFile(limits.limits, now);
  const { bytes = Math.min(room, upload.most) } = upload;
  if (bytes > room || room === 0) return { outcome: 'full', limit: 'stored_bytes', most };
  alarm.wakeFor(belongings.begin(upload, bytes, now));
  return { outcome: 'admitted', room: Math.min(bytes, upload.most), at: now };
}

/** Notes how an upload has ended. One that began before the account was erased leaves a file to be deleted. */
export function endUpload(state: AccountState, report: UploadReport): void {
  const isErased = report.at <= state.erasedUntil;
  state.belongings.end(report, isErased);
  if (isErased) state.alarm.wakeFor(state.now() + FIRST_TEND_MS, FIRST_TEND_MS);
}

/** Does what is due, and has the alarm come again where something is left. It never throws. */
export async function tendFiles(state: AccountState): Promise<void> {
  const { belongings } = state;
  const rows = belongings.due(state.now(), AT_ONCE);
  await Promise.all(rows.map((row) => tend(state, row)));
  const { dueAt } = belongings;
  if (dueAt !== undefined) state.alarm.wakeFor(dueAt, FIRST_TEND_MS);
}

async function tend(state: AccountState, row: DueRow): Promise<void> {
  const { belongings } = state;
  const { id, tries } = row;
  try {
    if (row.state === 'erasing') {
      await deleteUpstream(state, row);
      belongings.forget(id);
    } else if ((await mayBeThere(state, row)) && row.created_at > state.erasedUntil) {
      belongings.postpone(id, state.now() + LOOK_AGAIN_MS);
    } else belongings.forget(id);
  } catch {
    // Whatever the failure was, it is tried again: it may be the operator's, and take a while.
    belongings.postpone(id, state.now() + Math.min(FIRST_TEND_MS * 2 ** tries, LONGEST_TEND_MS));
  }
}

/** @throws Error unless the file is gone */
async function deleteUpstream(state: AccountState, { id, upstream }: DueRow): Promise<void> {
  const response = await call(state, 'DELETE', `/v1/files/${encodeURIComponent(id)}`, upstream);
  await response.body?.cancel();
  if (!response.ok && response.status !== 404) throw new Error(`the upstream answered ${response.status}`);
}

/**
 * Looks whether an upload whose answer was lost has left a file: one of its size, and of its time, that is not known to be
 * another. Whose such a file is, nobody can tell; so it is never deleted or handed out, and its bytes go on counting. Where
 * there is none, there is nothing to count.
 */
async function mayBeThere(state: AccountState, row: DueRow): Promise<boolean> {
  const from = row.created_at - SKEW_MS;
  const to = row.created_at + UPLOAD_MS + SKEW_MS;
  let query = '';
  for (let page = 0; page < MOST_PAGES; page++) {
    const response = await call(state, 'GET', `/v1/files?limit=${PAGE}${query}`, row.upstream);
    const list = response.ok
      ? parseObject(await readBuffered(response, UPSTREAM_CALL_MS, new AbortController()))
      : undefined;
    if (!list || !Array.isArray(list.data)) throw new Error(`the upstream answered ${response.status} to a list`);
    const files = list.data as { id: string; size_bytes: number; created_at: string }[];
    const alike = files.filter(({ size_bytes: bytes, created_at }) => {
      const at = Date.parse(created_at);
      return at >= from && at <= to && bytes <= row.bytes && (row.is_exact === 0 || bytes >= row.bytes - FORM_BYTES);
    });
    const known = new Set(state.belongings.find(alike.map(({ id }) => id)).map(({ id }) => id));
    if (alike.some(({ id }) => !known.has(id))) return true;
    const isPast = files.some(({ created_at }) => Date.parse(created_at) < from);
    const next = typeof list.next_page === 'string' ? `&page=${encodeURIComponent(list.next_page)}` : undefined;
    if (isPast || next === undefined) return false;
    query = next;
  }
  return true;
}

async function call(state: AccountState, method: string, path: string, only: string): Promise<Response> {
  const upstream = upstreamOf(state.settings());
  const course: SendProgress = { sentAt: undefined };
  const response = await send(
    upstream,
    {
      method,
      path,
      headers: {
        'x-api-key': upstream.apiKey,
        'anthropic-version': '2023-06-01',
        'anthropic-beta': 'files-api-2025-04-14',
      },
      routing: { streams: false, isQuick: true, ...(only === '' ? {} : { only }) },
    },
    { maxRetries: 0, timeoutMs: UPSTREAM_CALL_MS, controller: new AbortController(), course },
  );
  course.leave?.(false);
  return response;
}
