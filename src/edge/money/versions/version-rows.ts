/**
 * Keeps the versions that an account, or the deployment, has stored. KV is written from these rows. They know at once what KV
 * knows up to a minute later.
 *
 * Each row says whether KV has it. The account's alarm writes missing rows again. So after any failure KV ends up with what
 * the rows say. If a name is written twice, the later write stays.
 */

import type { Page, PageSelection } from '../../durable/page.ts';
import type { Tables } from '../../durable/tables.ts';
import { joinPieces } from '../../kit/http/body-pieces.ts';
import { paginateRows } from '../../kit/http/page.ts';
import type { VersionRow } from '../../registry/versions/versions-answers.schema.ts';
import type { NameRow, NewVersion, PointedVersion, PutAnswer, VersionId } from '../contracts/account.ts';
import type { VersionPlace } from './kv-copies.ts';
import { deleteVersion, pointerText, readPointer, writePointer, writeVersion } from './kv-copies.ts';

/** The most bytes in a row, below the platform's limit of two megabytes. */
const VERSION_PIECE_BYTES = 1_900_000;
/** How many names one owner may have, so that a credential cannot fill an object. */
const MAX_NAMES = 1_000;
/** How many versions of a name may be withdrawn: all of them are read with the name. */
const MAX_WITHDRAWN = 1_000;
/** The conditions that select the rows of one name, and of one version. */
const NAME_CONDITION = 'kind = ? and name = ?';
const VERSION_CONDITION = `${NAME_CONDITION} and hash = ?`;

type Outcome = PutAnswer['outcome'];

/** Keeps the rows of names and versions of one owner, and writes them to KV. */
export class Versions {
  readonly #tables: Tables;
  readonly #store: KVNamespace;
  readonly #owner: string;
  /** The running write to KV by name. Writes of one name must not run at the same time, or the older one might come last. */
  readonly #publishing = new Map<string, Promise<void>>();
  /** The sum of all bytes; undefined after a change, until somebody asks. */
  #bytes: number | undefined;

  constructor(tables: Tables, store: KVNamespace, owner: string) {
    this.#tables = tables;
    this.#store = store;
    this.#owner = owner;
  }

  /** Takes the bytes of all versions together, as they were just read. */
  setBytes(bytes: number): void {
    this.#bytes = bytes;
  }

  get bytes(): number {
    this.#bytes ??= this.#tables.queryNumberOrZero('select sum(bytes) from versions');
    return this.#bytes;
  }

  /**
   * Stores a version, and makes its name point to it.
   *
   * @param mostBytes what all versions may have together
   */
  put({ pinned, ...version }: NewVersion, now: number, mostBytes: number): Outcome {
    if (!this.#canPin(version, pinned)) return 'unknown';
    return this.#insert(version, now, mostBytes, () => this.#point(version, now, pinned));
  }

  /**
   * Stores a version of a backup. A name that is here stays where it points, and what was withdrawn stays withdrawn.
   *
   * @param at when it was stored where the backup was made; milliseconds since 1970
   * @param isCurrent whether a name that is not here points to it
   */
  restore(version: NewVersion, at: number, mostBytes: number, isCurrent: boolean): Outcome {
    const { hash, withdrawn } = this.pointer(version.kind, version.name);
    if (withdrawn.includes(version.hash)) return 'withdrawn';
    return this.#insert(version, at, mostBytes, () => {
      if (isCurrent && hash === '') this.#point(version, at);
    });
  }

  /** @returns when a version was stored; milliseconds since 1970 */
  storedAt(id: VersionId): number | undefined {
    return this.#tables.queryNumber(`select at from versions where ${VERSION_CONDITION}`, ...versionKey(id));
  }

  /** Stores what is not there yet, and changes its name in the same transaction. */
  #insert(version: NewVersion, now: number, mostBytes: number, point: () => void): Outcome {
    const { kind, name, hash, bytes, description } = version;
    const state = this.#state(version);
    if (state === undefined && (this.bytes + bytes.length > mostBytes || this.#isFull(kind, name))) return 'full';
    this.#bytes = undefined;
    this.#tables.transact(() => {
      if (state === undefined) {
        const row = { at: now, bytes: bytes.length, description, state: 'new' };
        this.#tables.insert('versions', { kind, name, hash, ...row });
        for (let n = 0; n * VERSION_PIECE_BYTES < bytes.length; n += 1) {
          const piece = bytes.slice(n * VERSION_PIECE_BYTES, (n + 1) * VERSION_PIECE_BYTES).buffer;
          this.#tables.insert('version_pieces', { kind, name, hash, n, bytes: piece });
        }
      } else if (state === 'doomed') this.#setState(version, 'new');
      point();
    });
    return 'stored';
  }

  /** Points a name to a version that exists: a newer or an older one. */
  point({ pinned, ...id }: PointedVersion, now: number): Outcome {
    if (!this.#has(id) || !this.#canPin(id, pinned)) return 'unknown';
    this.#tables.transact(() => this.#point(id, now, pinned));
    return 'stored';
  }

  /** Takes a version back from everybody, holders too. The name stays where it points. May be repeated. */
  withdraw(id: VersionId, now: number): Outcome {
    const { kind, name, hash } = id;
    const pointer = this.pointer(kind, name);
    if (pointer.withdrawn.includes(hash)) return 'stored';
    if (pointer.hash === hash) return 'current';
    if (!this.#has(id)) return 'unknown';
    if (pointer.withdrawn.length >= MAX_WITHDRAWN) return 'full';
    this.#tables.transact(() => {
      const pinned = pointer.pinned.filter((one) => one !== hash);
      this.#setLists(id, pinned, [...pointer.withdrawn, hash], now);
      this.#setState(id, 'doomed');
    });
    return 'stored';
  }

  /** @returns what is known of a name. */
  pointer(kind: string, name: string) {
    const [row] = this.#tables.read(`select * from names where ${NAME_CONDITION}`, kind, name);
    return readPointer(row ? pointerText(row) : null);
  }

  /** @returns the bytes of a version, or undefined. @param isAny whether it need not be current or pinned */
  read(id: VersionId, isAny = true): Uint8Array | undefined {
    if (!this.#has(id)) return undefined;
    const { hash, pinned } = this.pointer(id.kind, id.name);
    if (!isAny && hash !== id.hash && !pinned.includes(id.hash)) return undefined;
    const rows = this.#tables.read(
      `select bytes from version_pieces where ${VERSION_CONDITION} order by n`,
      ...versionKey(id),
    );
    return joinPieces(rows.map(({ bytes }) => new Uint8Array(bytes as ArrayBuffer)));
  }

  name(kind: string, name: string): NameRow | undefined {
    return this.#names('n.kind = ? and n.name = ?', [kind, name], '')[0];
  }

  /** @returns names in their order; one more than the limit, if there are more. */
  names(kind: string, { limit = 20, after_id, before_id }: PageSelection): NameRow[] {
    if (before_id === undefined) {
      return this.#names('n.kind = ? and n.name > ?', [kind, after_id ?? ''], `order by n.name limit ${limit + 1}`);
    }
    const order = `order by n.name desc limit ${limit + 1}`;
    return this.#names('n.kind = ? and n.name < ?', [kind, before_id], order).reverse();
  }

  /** @returns a page of the versions of a name, newest first; undefined if there is no such name. */
  history(kind: string, name: string, page: PageSelection): Page<VersionRow> | undefined {
    const current = this.pointer(kind, name);
    if (current.hash === '') return undefined;
    const query = `select * from versions where ${NAME_CONDITION} and state != 'doomed' order by at desc, hash`;
    const rows = this.#tables.read(query, kind, name).map(
      (row): VersionRow => ({
        type: `${kind}_version`,
        version: `${name}@${row.hash}`,
        current: row.hash === current.hash,
        pinned: current.pinned.includes(String(row.hash)),
        description: row.description === null ? null : String(row.description),
        bytes: Number(row.bytes),
        created_at: new Date(Number(row.at)).toISOString(),
      }),
    );
    return paginateRows(rows, page, ({ version }) => version);
  }

  /** Deletes a name, and its versions that nobody holds. */
  remove(kind: string, name: string, now: number): Outcome {
    if (!this.#tables.has(`names where ${NAME_CONDITION} and (hash is not null or told = 0)`, kind, name))
      return 'unknown';
    this.#tables.transact(() => {
      this.#tables.write(
        `update names set hash = null, pinned = '', at = ?, told = 0 where ${NAME_CONDITION}`,
        now,
        kind,
        name,
      );
      const isRetained =
        'exists (select 1 from version_holds h where (h.kind, h.name, h.hash) = (v.kind, v.name, v.hash))';
      this.#tables.write(
        `update versions as v set state = 'doomed' where ${NAME_CONDITION} and not ${isRetained}`,
        kind,
        name,
      );
    });
    return 'stored';
  }

  /** Deletes all names and versions that were stored up to a time, retained or not. */
  removeAll(until: number): void {
    const isOlder =
      'exists (select 1 from versions v where (v.kind, v.name, v.hash) = (h.kind, h.name, h.hash) and v.at <= ?)';
    this.#tables.write(`delete from version_holds as h where ${isOlder}`, until);
    this.#tables.write(
      `update names as h set hash = null, pinned = '', withdrawn = '', at = ?1, told = 0
       where at <= ?1 or ${isOlder.replace('?', '?1')}`,
      until,
    );
    this.#tables.write("update versions set state = 'doomed' where at <= ?", until);
  }

  /**
   * Keeps a version for a holder, even after its name is deleted. May be repeated.
   *
   * @returns false if there is no such version
   */
  hold(id: VersionId, holder: string): boolean {
    if (!this.#has(id)) return false;
    this.#tables.write('insert or ignore into version_holds values (?, ?, ?, ?)', ...versionKey(id), holder);
    return true;
  }

  /** Ends a hold. If nobody else holds the version and its name is deleted, the version is deleted. */
  release(id: VersionId, holder: string): void {
    this.#tables.write(
      `delete from version_holds where ${VERSION_CONDITION} and holder = ?`,
      ...versionKey(id),
      holder,
    );
    const isRetained = this.#tables.has(`version_holds where ${VERSION_CONDITION}`, ...versionKey(id));
    if (!isRetained && !this.name(id.kind, id.name) && this.#state(id) !== undefined) this.#setState(id, 'doomed');
  }

  /** @returns whether there are changes that KV does not have. */
  get hasUnpublished(): boolean {
    return this.#listUnpublished().length > 0;
  }

  /**
   * Writes the changes of a name to KV.
   *
   * @throws ApiError 503 while KV does not take it
   */
  async publish(kind: string, name: string): Promise<void> {
    const key = `${kind}:${name}`;
    const before = this.#publishing.get(key) ?? Promise.resolve();
    const telling = before.catch(() => {}).then(() => this.#writeToKv({ kind, owner: this.#owner, name }));
    this.#publishing.set(key, telling);
    try {
      await telling;
    } finally {
      if (this.#publishing.get(key) === telling) this.#publishing.delete(key);
    }
  }

  /** Writes all changes to KV. @returns whether all writes have succeeded */
  async publishAll(): Promise<{ thrown: unknown } | undefined> {
    const results = await Promise.allSettled(this.#listUnpublished().map(({ kind, name }) => this.publish(kind, name)));
    const failed = results.find((one) => one.status === 'rejected');
    return failed && { thrown: failed.reason };
  }

  async #writeToKv(place: VersionPlace): Promise<void> {
    const { kind, name } = place;
    const hashesIn = (state: string) =>
      this.#tables.read(`select hash from versions where ${NAME_CONDITION} and state = ?`, kind, name, state);
    // The value is written before the pointer, so that a pointer never leads to nothing.
    for (const row of hashesIn('new')) {
      const id = { kind, name, hash: String(row.hash) };
      await writeVersion(this.#store, place, id.hash, this.read(id) ?? new Uint8Array(0));
      if (this.#state(id) === 'new') this.#setState(id, 'told');
    }
    const [named] = this.#tables.read(`select * from names where ${NAME_CONDITION} and told = 0`, kind, name);
    if (named) {
      const { hash, pinned, withdrawn } = named;
      const text = pointerText(named);
      await writePointer(this.#store, place, text);
      // If the name was changed meanwhile, this matches no row, and the name is written to KV again.
      this.#tables.write(
        `${text === null ? 'delete from names' : 'update names set told = 1'}
         where ${NAME_CONDITION} and hash is ? and pinned = ? and withdrawn = ?`,
        ...[kind, name, hash ?? null, String(pinned), String(withdrawn)],
      );
    }
    for (const row of hashesIn('doomed')) {
      const id = { kind, name, hash: String(row.hash) };
      await deleteVersion(this.#store, place, id.hash);
      if (this.#state(id) !== 'doomed') continue;
      this.#tables.write(`delete from version_pieces where ${VERSION_CONDITION}`, ...versionKey(id));
      this.#tables.write(`delete from versions where ${VERSION_CONDITION}`, ...versionKey(id));
      this.#bytes = undefined;
    }
  }

  #listUnpublished(): { kind: string; name: string }[] {
    const rows = this.#tables.read(
      "select kind, name from names where told = 0 union select kind, name from versions where state != 'told'",
    );
    return rows.map(({ kind, name }) => ({ kind: String(kind), name: String(name) }));
  }

  /** @returns whether all versions exist, beside the one that is put. */
  #canPin(id: VersionId, pinned: readonly string[] = []): boolean {
    return pinned.every((hash) => hash === id.hash || this.#has({ ...id, hash }));
  }

  #setLists({ kind, name }: VersionId, pinned: readonly string[], withdrawn: string[], now: number): void {
    this.#tables.write(
      `insert into names (kind, name, at, told, pinned, withdrawn) values (?, ?, ?, 0, ?, ?) on conflict do update
       set told = 0, pinned = excluded.pinned, withdrawn = excluded.withdrawn
       where (pinned, withdrawn) != (excluded.pinned, excluded.withdrawn)`,
      ...[kind, name, now, pinned.join(), withdrawn.join()],
    );
  }

  #point(id: VersionId, now: number, pinned?: readonly string[]): void {
    const { kind, name, hash } = id;
    // Written to KV only if it has changed: KV accepts one write a second for each name.
    this.#tables.write(
      `insert into names (kind, name, hash, at, told) values (?, ?, ?, ?, 0) on conflict do update
       set hash = excluded.hash, at = excluded.at, told = 0 where hash is not excluded.hash`,
      ...[kind, name, hash, now],
    );
    const pointer = this.pointer(kind, name);
    // Who puts a version again does not want it withdrawn.
    const withdrawn = pointer.withdrawn.filter((one) => one !== hash);
    this.#setLists(id, pinned ?? pointer.pinned, withdrawn, now);
  }

  /** @returns whether a version exists and is not about to be deleted. */
  #has(id: VersionId): boolean {
    const state = this.#state(id);
    return state !== undefined && state !== 'doomed';
  }

  #state(id: VersionId): string | undefined {
    const [row] = this.#tables.read(`select state from versions where ${VERSION_CONDITION}`, ...versionKey(id));
    return row && String(row.state);
  }

  #setState(id: VersionId, state: 'new' | 'told' | 'doomed'): void {
    this.#tables.write(`update versions set state = ? where ${VERSION_CONDITION}`, state, ...versionKey(id));
  }

  #isFull(kind: string, name: string): boolean {
    return (
      this.#tables.queryNumberOrZero('select count(*) from names where kind = ? and name != ?', kind, name) >= MAX_NAMES
    );
  }

  #names(condition: string, bindings: string[], rest: string): NameRow[] {
    return this.#tables
      .read(
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

function versionKey({ kind, name, hash }: VersionId): [string, string, string] {
  return [kind, name, hash];
}
