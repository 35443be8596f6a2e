/** Keeps the journal of one batch, in memory and in a table of one row, and calls the others that its object needs. */

import type { UpstreamObjectServices } from '../../claude/upstream-object.ts';
import type { Settings } from '../../config/settings.ts';
import type { Remote } from '../../durable/call-object.ts';
import { createTablesOnWrite } from '../../durable/schema.ts';
import { Tables } from '../../durable/tables.ts';
import { logFailure } from '../../kit/http/log.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import type { AccountObject } from '../../money/contracts/account.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import type { BatchState } from './contracts/batch.ts';
import { isOpen, type Journal, OWED, type PendingTask, type Phase, stateOf, tasksFor } from './journal.ts';
import { UpstreamBatches } from './upstream-batches.ts';

const RECORD_TABLE = 'create table record (one integer primary key check (one = 1), journal text not null) strict;';

/**
 * Keeps the journal. After each wait, it must be read again: another call may have changed it meanwhile, or the batch may be
 * forgotten.
 */
export class BatchRecord {
  readonly #around: UpstreamObjectServices;
  readonly #storage: DurableObjectStorage;
  #journal: Journal | undefined;

  constructor(storage: DurableObjectStorage, around: UpstreamObjectServices) {
    this.#storage = storage;
    this.#around = around;
    const [row] = this.#tables().read<{ journal: string }>('select journal from record');
    if (row) this.#journal = JSON.parse(row.journal) as Journal;
  }

  /** The journal as it is now; undefined before it is begun, and after it is forgotten. */
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

  /** Stores the first form of the journal. */
  begin(journal: Journal): void {
    this.#save(journal, this.#tables());
  }

  /** Changes the journal and stores it. Does nothing if the batch was forgotten meanwhile. */
  change(change: Partial<Journal>): void {
    if (this.#journal) this.#save({ ...this.#journal, ...change });
  }

  async forget(): Promise<void> {
    this.#journal = undefined;
    await this.#around.deleteAll();
  }

  /** Calls the account that owns the batch, and repeats the call for some seconds. @throws ObjectUnreachable 503 */
  async account<T>(call: (account: Remote<AccountObject>) => Promise<T>): Promise<T> {
    const identity = { account: this.#journal?.account ?? '' };
    return await callAccount({ identity, accounts: this.env, settings: this.settings }, call, 'persistent');
  }

  /** Does something that the alarm repeats if it fails. @returns whether it did not fail */
  async try(work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (thrown) {
      logFailure({ batch: this.#journal?.id ?? '' }, thrown);
      return false;
    }
  }

  /** The upstream's side of the batch. */
  get calls(): UpstreamBatches {
    const { upstream: name, headers = {} } = this.journal ?? {};
    return new UpstreamBatches(this.#around.upstream(), this.settings, { name, headers });
  }

  /** What other objects get to know about it. */
  get state(): BatchState {
    return stateOf(this.journal, this.now);
  }

  /**
   * Begins a phase, and stores it with what it owes. A cancellation stays owed while the batch is open.
   *
   * @param owed if it is not what the phase usually owes
   */
  enterPhase(phase: Phase, more: Partial<Journal> = {}, owed: readonly PendingTask[] = OWED[phase]): void {
    const { journal } = this;
    if (!journal) return;
    const isCancelOwed = isOpen({ phase }) && journal.owes.includes('cancel');
    this.change({ ...more, phase, owes: tasksFor(journal, isCancelOwed ? [...owed, 'cancel'] : owed) });
  }

  /** Stores a change by which more is owed. */
  addTasks(debts: readonly PendingTask[], more: Partial<Journal> = {}): void {
    const { journal } = this;
    if (!journal) return;
    const owes = tasksFor({ ...journal, ...more }, [...new Set([...journal.owes, ...debts])]);
    this.change({ ...more, owes });
  }

  /** Notes that a debt of a journal is paid, unless the batch has gone on meanwhile: then it may be owed anew. */
  noteDone(debt: PendingTask, { phase, cancelAt }: Journal): void {
    const { journal } = this;
    if (journal?.phase !== phase || journal.cancelAt !== cancelAt) return;
    this.change({ owes: journal.owes.filter((one) => one !== debt) });
  }

  wakeIn(milliseconds: number): void {
    this.#around.alarm.schedule(this.now + milliseconds);
  }

  #tables(): Tables {
    return new Tables(this.#storage, createTablesOnWrite(this.#storage, RECORD_TABLE), this.#around.abort);
  }

  #save(journal: Journal, tables = new Tables(this.#storage, undefined, this.#around.abort)): void {
    tables.insert('record', { one: 1, journal: JSON.stringify(journal) }, 'insert or replace');
    this.#journal = journal;
  }
}
