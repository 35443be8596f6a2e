/**
 * Lists what an account has made at upstreams, by id: its files with their bytes, and the containers and threads of its
 * answers.
 */

import type { ListPage, PageSelection } from '../../durable/page.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { DAY_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import type { FileDescription, FileRow, OwnedResource, UploadReport, UploadRequest } from '../contracts/ownership.ts';
import { ErasableRows } from './listed-rows.ts';

/**
 * `uploading`: the upload has not ended; the id is that of the request. `kept`: it exists. `gone`: it was deleted or has
 * expired. It still belongs to its owner, and the upstream rejects requests that name it. `erasing`: it must be deleted
 * upstream.
 */

/** Something with work that is due: for what is `kept` its end. */
export type ResourceWithDueWork = Record<string, SqlStorageValue> & {
  id: string;
  upstream: string;
  state: 'uploading' | 'kept' | 'gone' | 'erasing';
  /** The bytes of an upload, including its form. If `is_exact` is 0, the most that may have arrived. */
  bytes: number;
  is_exact: number;
  created_at: number;
  tries: number;
};

/** The most milliseconds by which clocks may differ. */
export const SKEW_MS = MINUTE_MS;
/** Milliseconds after its beginning by which an upload has certainly ended. */
export const UPLOAD_MS = 20 * MINUTE_MS;
/** Milliseconds for which deleted things are remembered. */
const GONE_MS = 90 * DAY_MS;

export class OwnershipList extends ErasableRows {
  constructor(tables: SqlTables) {
    super(tables, 'owned_resources');
  }

  /** @returns the given ids that belong to the account, each with its upstream. */
  findOwnedResources(ids: readonly string[]): OwnedResource[] {
    return this.tables.readAllRows<Record<string, SqlStorageValue> & OwnedResource>(
      `select id, kind, upstream from owned_resources
       where id in (select value from json_each(?)) and state in ('kept', 'gone')`,
      JSON.stringify(ids),
    );
  }

  /** @returns the given ids of files that were deleted or have expired */
  findDeletedFiles(ids: readonly string[]): string[] {
    const rows = this.tables.readAllRows<{ id: string }>(
      `select id from owned_resources
       where id in (select value from json_each(?)) and kind = 'file' and state = 'gone'`,
      JSON.stringify(ids),
    );
    return rows.map(({ id }) => id);
  }

  /** Records what an answer has made. Of a known id only its end changes: a container that is used lives longer. */
  recordCreatedResources(resources: readonly OwnedResource[], now: number): void {
    for (const { id, kind, upstream, expiresAt: end = 0 } of resources) {
      // Ignore an expiry in the past: the upstream's clock differs from ours, so the container may still exist.
      const due = kind === 'container' && end > now ? end + SKEW_MS : null;
      this.tables.runWriteStatement(
        `insert into owned_resources (id, kind, upstream, state, bytes, created_at, due_at) values (?, ?, ?, 'kept', 0, ?, ?)
         on conflict (id) do update set due_at = excluded.due_at where excluded.due_at > due_at and state = 'kept'`,
        id,
        kind,
        upstream,
        now,
        due,
      );
    }
  }

  /** @returns the upload that a request has begun. */
  findUpload(id: string): { bytes: number; at: number } | undefined {
    return this.tables.readAllRows<{ bytes: number; at: number }>(
      "select bytes, created_at as at from owned_resources where id = ? and state = 'uploading'",
      id,
    )[0];
  }

  /** Sets bytes aside for a file, before any of it is sent. @returns when to check how the upload has ended */
  reserveUpload({ id, upstream, bytes: announced }: UploadRequest, bytes: number, now: number): number {
    this.#pruneDeletedRows(now);
    const due = now + UPLOAD_MS;
    const row = { id, kind: 'file', upstream, state: 'uploading', bytes, created_at: now, due_at: due };
    this.tables.insertRow('owned_resources', { ...row, is_exact: Number(announced !== undefined) }, 'insert or ignore');
    return due;
  }

  /**
   * Replaces an upload by its file, or releases the upload. A repeated call changes nothing.
   *
   * @param isErased whether the account was erased after the upload began. Then the file must be deleted
   */
  finishUpload({ id, upstream, at, end }: UploadReport, isErased: boolean): void {
    if (end.outcome === 'unknown') {
      this.tables.runWriteStatement(
        "update owned_resources set bytes = ?, is_exact = 1 where id = ? and state = 'uploading' and is_exact = 0",
        end.bytes,
        id,
      );
      return;
    }
    this.tables.runInTransaction(() => {
      this.tables.runWriteStatement("delete from owned_resources where id = ? and state = 'uploading'", id);
      if (end.outcome === 'made') this.#storeFile(end.file, { upstream, at, isErased });
    });
  }

  #storeFile(
    { id, bytes, expiresAt, text }: FileDescription,
    { upstream, at, isErased }: { upstream: string; at: number; isErased: boolean },
  ): void {
    const row = { id, kind: 'file', upstream, bytes, created_at: at };
    const erasing = { state: 'erasing', due_at: 0, expires_at: null, description: null };
    const values = { state: 'kept', due_at: null, expires_at: expiresAt, description: text };
    this.tables.insertRow('owned_resources', { ...row, ...(isErased ? erasing : values) }, 'insert or ignore');
  }

  /** Adds the upstream's description of a file that a tool has created. */
  storeFileDescription({ id, bytes, expiresAt, text }: FileDescription): void {
    this.tables.runWriteStatement(
      `update owned_resources set bytes = ?, expires_at = ?, description = ? where id = ? and kind = 'file' and state = 'kept'`,
      bytes,
      expiresAt,
      text,
      id,
    );
  }

  /** Records that something is no longer there. The row of a container or thread is deleted, because these are never listed. */
  markDeleted(id: string): void {
    if (this.tables.runWriteStatement("delete from owned_resources where id = ? and kind != 'file'", id) > 0) return;
    this.tables.runWriteStatement(
      "update owned_resources set state = 'gone', description = null where id = ? and state = 'kept'",
      id,
    );
  }

  /** @returns a page of the existing files, newest first. */
  listFiles(page: PageSelection, now: number): ListPage<FileRow> {
    this.#deleteExpiredResources(now);
    const select = "id, upstream, description as text from owned_resources where kind = 'file' and state = 'kept'";
    const edge = 'select created_at, id from owned_resources where id = ?1';
    return this.tables.selectPage<Record<string, SqlStorageValue> & FileRow>(
      { select, order: ['created_at', 'id'], edge },
      page,
    );
  }

  /**
   * Begins to erase the resources that were created up to a time. The rows of containers and threads are deleted, because these
   * cannot be deleted at the upstream. Files are first deleted there.
   */
  beginErasureUntil(until: number): void {
    this.tables.runWriteStatement(
      "delete from owned_resources where created_at <= ? and (kind != 'file' or state = 'gone')",
      until,
    );
    this.tables.runWriteStatement(
      "update owned_resources set state = 'erasing', description = null, due_at = 0, tries = 0 where created_at <= ? and state = 'kept'",
      until,
    );
  }

  /** @returns some of the files with work that is due. */
  listFilesWithDueWork(now: number, limit: number): ResourceWithDueWork[] {
    return this.tables.readAllRows<ResourceWithDueWork>(
      `select id, upstream, state, bytes, is_exact, created_at, tries from owned_resources
       where due_at <= ? order by due_at limit ?`,
      now,
      limit,
    );
  }

  /** @returns when work is due next; undefined if it never is. */
  get findNextDueTime(): number | undefined {
    return this.tables.queryNumber('select min(due_at) from owned_resources where due_at is not null');
  }

  /** Sets when the work on a file is tried again. */
  postponeFileWork(id: string, at: number): void {
    this.tables.runWriteStatement('update owned_resources set due_at = ?, tries = tries + 1 where id = ?', at, id);
  }

  #deleteExpiredResources(now: number): void {
    this.tables.runWriteStatement(
      "update owned_resources set state = 'gone', description = null where state = 'kept' and expires_at <= ?",
      now,
    );
  }

  #pruneDeletedRows(now: number): void {
    this.#deleteExpiredResources(now);
    this.tables.runWriteStatement("delete from owned_resources where state = 'gone' and created_at < ?", now - GONE_MS);
  }
}
