/**
 * Keeps the versions that an account, or the deployment, has stored. KV is written from these rows. They contain at once what
 * KV returns up to a minute later.
 *
 * Each row says whether KV has it. The account's alarm writes missing rows again. So after any failure KV finally contains what
 * the rows contain. If a name is written twice, the later write stays.
 */

import type { SqliteRow } from '../../durable/columns.ts';
import type { ListPage, PageSelection } from '../../durable/page.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { joinPieces } from '../../kit/http/body-pieces.ts';
import type { VersionRow } from '../../registry/versions/versions-answers.schema.ts';
import type {
  NewVersion,
  VersionChangeOutcome,
  VersionedNameRow,
  VersionId,
  VersionToPointTo,
} from '../contracts/account.ts';
import type { OwnedName } from './kv-copies.ts';
import {
  deleteVersionFromKv,
  parsePointer,
  serializePointer,
  writePointerToKv,
  writeVersionToKv,
} from './kv-copies.ts';

/** The most bytes in a row, below the platform's limit of two megabytes. */
const VERSION_PIECE_BYTES = 1_900_000;
/** How many names one owner may have, so that a credential cannot fill an object. */
export const MAX_NAMES = 1_000;
/** How many versions of a name may be withdrawn: all of them are read with the name. */
const MAX_WITHDRAWN = 1_000;
/** The conditions that select the rows of one name, and of one version. */
const NAME_CONDITION = 'kind = ? and name = ?';
const VERSION_CONDITION = `${NAME_CONDITION} and hash = ?`;

type VersionChangeResult = VersionChangeOutcome['outcome'];

/** Keeps the rows of names and versions of one owner, and writes them to KV. */
export class RegistryVersionStore {
  readonly #tables: SqlTables;
  readonly #store: KVNamespace;
  readonly #owner: string;
  /**
   * The running write to KV by name. Writes of one name must not run at the same time, or the older one might be stored last.
   */
  readonly #publishing = new Map<string, Promise<void>>();

  constructor(tables: SqlTables, store: KVNamespace, owner: string) {
    this.#tables = tables;
    this.#store = store;
    this.#owner = owner;
  }

  /** The bytes of all versions together. */
  get totalBytes(): number {
    return this.#tables.readTotals('versions').versions.bytes;
  }

  /**
   * Stores a version, and makes its name point to it.
   *
   * @param mostBytes what all versions may have together
   */
  storeAndPointTo({ pinned, ...version }: NewVersion, now: number, mostBytes: number): VersionChangeResult {
    if (!this.#existAllPinnedVersions(version, pinned)) return 'unknown';
    return this.#insertVersion(version, now, mostBytes, () => this.#writePointerRow(version, now, pinned));
  }

  /**
   * Stores a version of a backup. A name that is here stays where it points, and what was withdrawn stays withdrawn.
   *
   * @param at when it was stored where the backup was made; milliseconds since 1970
   * @param isCurrent whether a name that is not here points to it
   */
  restore(version: NewVersion, at: number, mostBytes: number, isCurrent: boolean): VersionChangeResult {
    const { hash, withdrawn } = this.readNamePointer(version.kind, version.name);
    if (withdrawn.includes(version.hash)) return 'withdrawn';
    return this.#insertVersion(version, at, mostBytes, () => {
      if (isCurrent && hash === '') this.#writePointerRow(version, at);
    });
  }

  /** @returns when a version was stored; milliseconds since 1970 */
  findVersionStoredAt(id: VersionId): number | undefined {
    return this.#tables.queryNumber(`select at from versions where ${VERSION_CONDITION}`, ...toVersionSqlBindings(id));
  }

  /** Stores what is not there yet, and changes its name in the same transaction. */
  #insertVersion(version: NewVersion, now: number, mostBytes: number, point: () => void): VersionChangeResult {
    const { kind, name, hash, bytes, description } = version;
    const state = this.#readVersionState(version);
    if (state === undefined && this.totalBytes + bytes.length > mostBytes) return 'too_many_bytes';
    if (state === undefined && this.#hasMaxNames(kind, name)) return 'too_many_names';
    this.#tables.runInTransaction(() => {
      if (state === undefined) {
        const row = { at: now, bytes: bytes.length, description, state: 'new' };
        this.#tables.insertRow('versions', { kind, name, hash, ...row });
        for (let n = 0; n * VERSION_PIECE_BYTES < bytes.length; n += 1) {
          const piece = bytes.slice(n * VERSION_PIECE_BYTES, (n + 1) * VERSION_PIECE_BYTES).buffer;
          this.#tables.insertRow('version_pieces', { kind, name, hash, n, bytes: piece });
        }
      } else if (state === 'doomed') this.#writeVersionState(version, 'new');
      point();
    });
    return 'stored';
  }

  /** Points a name to a version that exists: a newer or an older one. */
  point({ pinned, ...id }: VersionToPointTo, now: number): VersionChangeResult {
    if (!this.#hasVersion(id) || !this.#existAllPinnedVersions(id, pinned)) return 'unknown';
    this.#tables.runInTransaction(() => this.#writePointerRow(id, now, pinned));
    return 'stored';
  }

  /** Takes a version back from everybody, holders too. The name stays where it points. May be repeated. */
  withdrawVersion(id: VersionId, now: number): VersionChangeResult {
    const { kind, name, hash } = id;
    const pointer = this.readNamePointer(kind, name);
    if (pointer.withdrawn.includes(hash)) return 'stored';
    if (pointer.hash === hash) return 'current';
    if (!this.#hasVersion(id)) return 'unknown';
    if (pointer.withdrawn.length >= MAX_WITHDRAWN) return 'too_many_withdrawn';
    this.#tables.runInTransaction(() => {
      const pinned = pointer.pinned.filter((one) => one !== hash);
      this.#writePinnedAndWithdrawn(id, pinned, [...pointer.withdrawn, hash], now);
      this.#writeVersionState(id, 'doomed');
    });
    return 'stored';
  }

  /** @returns what is known of a name. */
  readNamePointer(kind: string, name: string) {
    const [row] = this.#tables.readAllRows(`select * from names where ${NAME_CONDITION}`, kind, name);
    return parsePointer(row ? serializePointer(row) : null);
  }

  /** @returns the bytes of a version, or undefined. @param isAny whether it need not be current or pinned */
  readVersionBytes(id: VersionId, isAny = true): Uint8Array | undefined {
    if (!this.#hasVersion(id)) return undefined;
    const { hash, pinned } = this.readNamePointer(id.kind, id.name);
    if (!isAny && hash !== id.hash && !pinned.includes(id.hash)) return undefined;
    const rows = this.#tables.readAllRows(
      `select bytes from version_pieces where ${VERSION_CONDITION} order by n`,
      ...toVersionSqlBindings(id),
    );
    return joinPieces(rows.map(({ bytes }) => new Uint8Array(bytes as ArrayBuffer)));
  }

  findVersionedName(kind: string, name: string): VersionedNameRow | undefined {
    return this.#queryNames('n.kind = ? and n.name = ?', [kind, name], '')[0];
  }

  /** @returns names in their order; one more than the limit, if there are more. */
  listVersionedNames(kind: string, { limit = 20, after_id, before_id }: PageSelection): VersionedNameRow[] {
    if (before_id === undefined) {
      return this.#queryNames(
        'n.kind = ? and n.name > ?',
        [kind, after_id ?? ''],
        `order by n.name limit ${limit + 1}`,
      );
    }
    const order = `order by n.name desc limit ${limit + 1}`;
    return this.#queryNames('n.kind = ? and n.name < ?', [kind, before_id], order).reverse();
  }

  /** @returns a page of the versions of a name, newest first; undefined if there is no such name. */
  listVersions(kind: string, name: string, page: PageSelection): ListPage<VersionRow> | undefined {
    const current = this.readNamePointer(kind, name);
    if (current.hash === '') return undefined;
    const rows = this.#tables.selectPage<SqliteRow & { id: string }>(
      {
        select: `*, name || '@' || hash as id from versions where kind = ?3 and name = ?4 and state != 'doomed'`,
        order: ['at', 'hash'],
        edge: `select at, hash from versions where kind = ?3 and name = ?4 and hash = substr(?1, length(?4) + 2)`,
      },
      page,
      kind,
      name,
    );
    const data = rows.data.map(
      (row): VersionRow => ({
        type: `${kind}_version`,
        version: row.id,
        current: row.hash === current.hash,
        pinned: current.pinned.includes(String(row.hash)),
        description: row.description === null ? null : String(row.description),
        bytes: Number(row.bytes),
        created_at: new Date(Number(row.at)).toISOString(),
      }),
    );
    return { ...rows, data };
  }

  /** Deletes a name, and its versions without a holder. */
  remove(kind: string, name: string, now: number): VersionChangeResult {
    if (!this.#tables.hasRows(`names where ${NAME_CONDITION} and (hash is not null or told = 0)`, kind, name))
      return 'unknown';
    this.#tables.runInTransaction(() => {
      this.#tables.runWriteStatement(
        `update names set hash = null, pinned = '', at = ?, told = 0 where ${NAME_CONDITION}`,
        now,
        kind,
        name,
      );
      const isRetained =
        'exists (select 1 from version_holds h where (h.kind, h.name, h.hash) = (v.kind, v.name, v.hash))';
      this.#tables.runWriteStatement(
        `update versions as v set state = 'doomed' where ${NAME_CONDITION} and not ${isRetained}`,
        kind,
        name,
      );
    });
    return 'stored';
  }

  /** Deletes all names and versions that were stored up to a time, retained or not. */
  deleteAllStoredUntil(until: number): void {
    const isOlder =
      'exists (select 1 from versions v where (v.kind, v.name, v.hash) = (h.kind, h.name, h.hash) and v.at <= ?)';
    this.#tables.runWriteStatement(`delete from version_holds as h where ${isOlder}`, until);
    this.#tables.runWriteStatement(
      `update names as h set hash = null, pinned = '', withdrawn = '', at = ?1, told = 0
       where at <= ?1 or ${isOlder.replace('?', '?1')}`,
      until,
    );
    this.#tables.runWriteStatement("update versions set state = 'doomed' where at <= ?", until);
  }

  /**
   * Keeps a version for a holder, even after its name is deleted. May be repeated.
   *
   * @returns false if there is no such version
   */
  retainVersion(id: VersionId, holder: string): boolean {
    if (!this.#hasVersion(id)) return false;
    this.#tables.runWriteStatement(
      'insert or ignore into version_holds values (?, ?, ?, ?)',
      ...toVersionSqlBindings(id),
      holder,
    );
    return true;
  }

  /** Ends a hold. If the version has no other holder and its name is deleted, the version is deleted. */
  releaseVersion(id: VersionId, holder: string): void {
    this.#tables.runWriteStatement(
      `delete from version_holds where ${VERSION_CONDITION} and holder = ?`,
      ...toVersionSqlBindings(id),
      holder,
    );
    const isRetained = this.#tables.hasRows(`version_holds where ${VERSION_CONDITION}`, ...toVersionSqlBindings(id));
    if (!isRetained && !this.findVersionedName(id.kind, id.name) && this.#readVersionState(id) !== undefined)
      this.#writeVersionState(id, 'doomed');
  }

  /** @returns whether there are changes that KV does not have. */
  get hasUnpublishedChanges(): boolean {
    return this.#listUnpublishedNames().length > 0;
  }

  /**
   * Writes the changes of a name to KV.
   *
   * @throws ApiError 503 while KV does not take it
   */
  async publishNameToKv(kind: string, name: string): Promise<void> {
    const key = `${kind}:${name}`;
    const before = this.#publishing.get(key) ?? Promise.resolve();
    const telling = before.catch(() => {}).then(() => this.#writeNameToKv({ kind, owner: this.#owner, name }));
    this.#publishing.set(key, telling);
    try {
      await telling;
    } finally {
      if (this.#publishing.get(key) === telling) this.#publishing.delete(key);
    }
  }

  /** Writes all changes to KV. @returns whether all writes have succeeded */
  async publishAllToKv(): Promise<{ thrown: unknown } | undefined> {
    const results = await Promise.allSettled(
      this.#listUnpublishedNames().map(({ kind, name }) => this.publishNameToKv(kind, name)),
    );
    const failed = results.find((one) => one.status === 'rejected');
    return failed && { thrown: failed.reason };
  }

  async #writeNameToKv(ownedName: OwnedName): Promise<void> {
    const { kind, name } = ownedName;
    const listHashesInState = (state: string) =>
      this.#tables.readAllRows(`select hash from versions where ${NAME_CONDITION} and state = ?`, kind, name, state);
    // Write the version before the pointer to it, so that readers of KV never find a pointer to a version that is missing.
    for (const row of listHashesInState('new')) {
      const id = { kind, name, hash: String(row.hash) };
      await writeVersionToKv(this.#store, ownedName, id.hash, this.readVersionBytes(id) ?? new Uint8Array(0));
      if (this.#readVersionState(id) === 'new') this.#writeVersionState(id, 'told');
    }
    const [named] = this.#tables.readAllRows(`select * from names where ${NAME_CONDITION} and told = 0`, kind, name);
    if (named) {
      const { hash, pinned, withdrawn } = named;
      const text = serializePointer(named);
      await writePointerToKv(this.#store, ownedName, text);
      // The condition contains the values that were written to KV. If the name was changed meanwhile, it matches no row, and
      // the name is written to KV again.
      this.#tables.runWriteStatement(
        `${text === null ? 'delete from names' : 'update names set told = 1'}
         where ${NAME_CONDITION} and hash is ? and pinned = ? and withdrawn = ?`,
        ...[kind, name, hash ?? null, String(pinned), String(withdrawn)],
      );
    }
    for (const row of listHashesInState('doomed')) {
      const id = { kind, name, hash: String(row.hash) };
      await deleteVersionFromKv(this.#store, ownedName, id.hash);
      if (this.#readVersionState(id) !== 'doomed') continue;
      this.#tables.runWriteStatement(
        `delete from version_pieces where ${VERSION_CONDITION}`,
        ...toVersionSqlBindings(id),
      );
      this.#tables.runWriteStatement(`delete from versions where ${VERSION_CONDITION}`, ...toVersionSqlBindings(id));
    }
  }

  #listUnpublishedNames(): { kind: string; name: string }[] {
    const rows = this.#tables.readAllRows(
      "select kind, name from names where told = 0 union select kind, name from versions where state != 'told'",
    );
    return rows.map(({ kind, name }) => ({ kind: String(kind), name: String(name) }));
  }

  /** @returns whether all versions exist, beside the one that is put. */
  #existAllPinnedVersions(id: VersionId, pinned: readonly string[] = []): boolean {
    return pinned.every((hash) => hash === id.hash || this.#hasVersion({ ...id, hash }));
  }

  #writePinnedAndWithdrawn(
    { kind, name }: VersionId,
    pinned: readonly string[],
    withdrawn: string[],
    now: number,
  ): void {
    this.#tables.runWriteStatement(
      `insert into names (kind, name, at, told, pinned, withdrawn) values (?, ?, ?, 0, ?, ?) on conflict do update
       set told = 0, pinned = excluded.pinned, withdrawn = excluded.withdrawn
       where (pinned, withdrawn) != (excluded.pinned, excluded.withdrawn)`,
      ...[kind, name, now, pinned.join(), withdrawn.join()],
    );
  }

  #writePointerRow(id: VersionId, now: number, pinned?: readonly string[]): void {
    const { kind, name, hash } = id;
    // Mark the name for KV only if it has changed: KV accepts one write a second for each key.
    // See https://developers.cloudflare.com/kv/platform/limits
    this.#tables.runWriteStatement(
      `insert into names (kind, name, hash, at, told) values (?, ?, ?, ?, 0) on conflict do update
       set hash = excluded.hash, at = excluded.at, told = 0 where hash is not excluded.hash`,
      ...[kind, name, hash, now],
    );
    const pointer = this.readNamePointer(kind, name);
    // Storing a withdrawn version again makes it available again.
    const withdrawn = pointer.withdrawn.filter((one) => one !== hash);
    this.#writePinnedAndWithdrawn(id, pinned ?? pointer.pinned, withdrawn, now);
  }

  /** @returns whether a version exists and is not about to be deleted. */
  #hasVersion(id: VersionId): boolean {
    const state = this.#readVersionState(id);
    return state !== undefined && state !== 'doomed';
  }

  #readVersionState(id: VersionId): string | undefined {
    const [row] = this.#tables.readAllRows(
      `select state from versions where ${VERSION_CONDITION}`,
      ...toVersionSqlBindings(id),
    );
    return row && String(row.state);
  }

  #writeVersionState(id: VersionId, state: 'new' | 'told' | 'doomed'): void {
    this.#tables.runWriteStatement(
      `update versions set state = ? where ${VERSION_CONDITION}`,
      state,
      ...toVersionSqlBindings(id),
    );
  }

  #hasMaxNames(kind: string, name: string): boolean {
    const key = `names:${kind}` as const;
    const { [key]: names } = this.#tables.readTotals(key);
    return (names?.count ?? 0) >= MAX_NAMES && !this.#tables.hasRows(`names where ${NAME_CONDITION}`, kind, name);
  }

  #queryNames(condition: string, bindings: string[], rest: string): VersionedNameRow[] {
    return this.#tables
      .readAllRows(
        `select n.name, n.hash, n.at as updated, v.at as created, v.bytes, v.description
         from names n join versions v on v.kind = n.kind and v.name = n.name and v.hash = n.hash
         where ${condition} ${rest}`,
        ...bindings,
      )
      .map((row) => ({
        name: String(row.name),
        hash: String(row.hash),
        description: row.description === null ? null : String(row.description),
        bytes: Number(row.bytes),
        created_at: new Date(Number(row.created)).toISOString(),
        updated_at: new Date(Number(row.updated)).toISOString(),
      }));
  }
}

function toVersionSqlBindings({ kind, name, hash }: VersionId): [string, string, string] {
  return [kind, name, hash];
}
