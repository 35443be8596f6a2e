/** Keeps the stored journal of one batch, and calls the others that its object needs. */

import type { Bindings } from '../durable/bindings.ts';
import { callAccount } from '../durable/call-account.ts';
import type { Remote } from '../durable/call-object.ts';
import type { AccountObject } from '../durable/contracts/account.ts';
import type { BatchClaimsObject, BatchOpening } from '../durable/contracts/batch.ts';
import type { Surroundings } from '../durable/edge-object.ts';
import { type Migration, migrate } from '../durable/migrations.ts';
import { readFormat, writeFormat } from '../durable/stored-format.ts';
import { Tables } from '../durable/tables.ts';
import type { Settings } from '../settings/settings.ts';
import { callClaims } from './call-batch.ts';
import type { Journal } from './journal.ts';
import { UpstreamBatches } from './upstream-batches.ts';

const BATCH_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    sql: 'create table batch (one integer primary key check (one = 1), journal text not null) strict;',
  },
];

/** A change of a journal. Undefined members are removed from it. */
type JournalChange = { [Name in keyof Journal]?: Journal[Name] | undefined };

/**
 * Keeps the journal. After each wait, the journal must be read again: another call may have changed it meanwhile, or the
 * batch may be forgotten.
 */
export class BatchRecord {
  readonly #storage: DurableObjectStorage;
  readonly #around: Surroundings;
  #journal: Journal | undefined;

  constructor(storage: DurableObjectStorage, around: Surroundings) {
    this.#storage = storage;
    this.#around = around;
    const [table] = storage.sql.exec("select 1 from sqlite_master where name = 'batch'").toArray();
    if (!table) return;
    const [row] = storage.sql.exec('select journal from batch').toArray();
    if (row) this.#journal = readFormat<Journal>('batch', String(row.journal));
  }

  /** The journal as it is now; undefined before the batch is prepared, and after it is forgotten. */
  get journal(): Journal | undefined {
    return this.#journal;
  }

  get now(): number {
    return this.#around.now();
  }

  get settings(): Settings {
    return this.#around.settings();
  }

  get env(): Bindings {
    return this.#around.env;
  }

  /** The upstream's side of the batch. */
  get calls(): UpstreamBatches {
    const { upstream: name, headers = {} } = this.#journal ?? {};
    return new UpstreamBatches(this.#around.upstream(), this.settings, { name, headers });
  }

  /** Stores the first form of the journal. */
  begin(opening: BatchOpening): void {
    migrate(this.#storage, BATCH_MIGRATIONS);
    this.#save({ ...opening, phase: 'prepared', createdAt: this.now });
  }

  /** Changes the journal and stores it. Does nothing if the batch was forgotten meanwhile. */
  change(change: JournalChange): void {
    if (this.#journal) this.#save({ ...this.#journal, ...change } as Journal);
  }

  /** Deletes everything. */
  async forget(): Promise<void> {
    this.#journal = undefined;
    await this.#around.deleteAll();
  }

  /** Calls the account that owns the batch, and repeats the call for some seconds. @throws ObjectUnreachable 503 */
  async account<T>(call: (account: Remote<AccountObject>) => Promise<T>): Promise<T> {
    const identity = { account: this.#journal?.account ?? '' };
    return await callAccount({ identity, accounts: this.env, settings: this.settings }, call, 'persistent');
  }

  /** Calls the claims on the batches of this batch's upstream. @throws ObjectUnreachable 503 */
  async claims<T>(call: (claims: Remote<BatchClaimsObject>) => Promise<T>): Promise<T> {
    return await callClaims({ env: this.env, settings: this.settings, upstream: this.#journal?.upstream }, call);
  }

  #save(journal: Journal): void {
    const row = { one: 1, journal: writeFormat('batch', journal) };
    new Tables(this.#storage).insert('batch', row, 'insert or replace');
    this.#journal = journal;
  }
}
