/** Keeps the journal of one batch, in memory and in a table of one row, and calls the others that its object needs. */

import type { UpstreamObjectServices } from '../../claude/upstream-object.ts';
import type { Settings } from '../../config/settings.ts';
import type { RemoteMethods } from '../../durable/call-object.ts';
import type { RetriedTaskName } from '../../durable/retries.ts';
import { createDeferredTableCreator } from '../../durable/schema.ts';
import { SqlTables } from '../../durable/tables.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import type { AccountObject } from '../../money/contracts/account.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import type { BatchState } from './contracts/batch.ts';
import {
  type BatchObligation,
  type BatchPhase,
  filterOwedTasks,
  isBatchOpen,
  type Journal,
  OWED,
  toBatchState,
} from './journal.ts';
import { UpstreamBatchesClient } from './upstream-batches.ts';

/** Milliseconds to pause after a failure without `retry-after`. */
export const FAILED_MS = 30_000;

/**
 * The tasks that the alarm repeats: the work of the batch's phase, the pending tasks of its journal, and the delivery of its
 * end.
 */
type BatchTask = Extract<RetriedTaskName, 'batch' | 'batch_task' | 'delivery'>;

const RECORD_TABLE = 'create table record (one integer primary key check (one = 1), journal text not null) strict;';

/**
 * Keeps the journal. After each wait, it must be read again: another call may have changed it meanwhile, or the batch may be
 * forgotten.
 */
export class BatchJournalStore {
  readonly #around: UpstreamObjectServices;
  readonly #storage: DurableObjectStorage;
  #journal: Journal | undefined;

  constructor(storage: DurableObjectStorage, around: UpstreamObjectServices) {
    this.#storage = storage;
    this.#around = around;
    const [row] = this.#openTables().readAllRows<{ journal: string }>('select journal from record');
    if (row) this.#journal = JSON.parse(row.journal) as Journal;
  }

  /** The journal as it is now; undefined before it is begun, and after it is forgotten. */
  get currentJournal(): Journal | undefined {
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
  storeFirstJournal(journal: Journal): void {
    this.#storeJournal(journal, this.#openTables());
  }

  /** Changes the journal and stores it. Does nothing if the batch was forgotten meanwhile. */
  updateJournal(change: Partial<Journal>): void {
    if (this.#journal) this.#storeJournal({ ...this.#journal, ...change });
  }

  async deleteJournal(): Promise<void> {
    this.#journal = undefined;
    await this.#around.deleteRowsAndAlarm();
  }

  /** Calls the account that owns the batch, and repeats the call for some seconds. @throws ObjectUnreachableError 503 */
  async callOwnerAccount<T>(call: (account: RemoteMethods<AccountObject>) => Promise<T>): Promise<T> {
    const identity = { account: this.#journal?.account ?? '' };
    return await callAccount({ identity, accounts: this.env, settings: this.settings }, call, 'persistent');
  }

  /**
   * Runs work that the alarm repeats if it fails. Never rejects.
   *
   * @param nextAt returns when the alarm repeats it; milliseconds since 1970
   * @returns whether it did not fail
   */
  async tryTask(task: BatchTask, work: () => Promise<void>, nextAt = () => this.now + FAILED_MS): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (thrown) {
      this.recordFailure(task, thrown, nextAt());
      return false;
    }
  }

  /** Records the failure of a task that the alarm repeats. @param nextAt as of `tryTask` */
  recordFailure(task: BatchTask, thrown: unknown, nextAt: number): void {
    // Record nothing for a deleted batch: it has no alarm that could retry the task, and must not store anything any more.
    if (this.#journal) this.#around.retries.recordFailure(task, thrown, nextAt);
  }

  /** Records that all due work of a task has succeeded. */
  recordSuccess(task: BatchTask): void {
    this.#around.retries.recordSuccess(task);
  }

  /** The upstream's side of the batch. */
  get upstreamClient(): UpstreamBatchesClient {
    const { upstream: name, headers = {} } = this.currentJournal ?? {};
    return new UpstreamBatchesClient(this.#around.getUpstream(), this.settings, { name, headers });
  }

  /** What other objects get to know about it. */
  get batchState(): BatchState {
    return toBatchState(this.currentJournal, this.now);
  }

  /**
   * Begins a phase, and stores it with its pending tasks. A cancellation stays pending while the batch is open.
   *
   * @param owed the pending tasks, if they are not the usual ones of the phase
   */
  enterPhase(phase: BatchPhase, more: Partial<Journal> = {}, owed: readonly BatchObligation[] = OWED[phase]): void {
    const { currentJournal: journal } = this;
    if (!journal) return;
    const isCancelOwed = isBatchOpen({ phase }) && journal.owes.includes('cancel');
    this.updateJournal({ ...more, phase, owes: filterOwedTasks(journal, isCancelOwed ? [...owed, 'cancel'] : owed) });
  }

  /** Stores a change by which more is owed. */
  addPendingTasks(debts: readonly BatchObligation[], more: Partial<Journal> = {}): void {
    const { currentJournal: journal } = this;
    if (!journal) return;
    const owes = filterOwedTasks({ ...journal, ...more }, [...new Set([...journal.owes, ...debts])]);
    this.updateJournal({ ...more, owes });
  }

  /**
   * Removes a pending task from the journal, unless the batch has changed in the meantime: then the task may be pending again.
   */
  removePendingTask(debt: BatchObligation, { phase, cancelAt }: Journal): void {
    const { currentJournal: journal } = this;
    if (journal?.phase !== phase || journal.cancelAt !== cancelAt) return;
    this.updateJournal({ owes: journal.owes.filter((one) => one !== debt) });
  }

  scheduleAlarmIn(milliseconds: number): void {
    this.#around.alarm.scheduleAt(this.now + milliseconds);
  }

  #openTables(): SqlTables {
    return new SqlTables(
      this.#storage,
      createDeferredTableCreator(this.#storage, RECORD_TABLE),
      this.#around.abortObjectWithMessage,
    );
  }

  #storeJournal(
    journal: Journal,
    tables = new SqlTables(this.#storage, undefined, this.#around.abortObjectWithMessage),
  ): void {
    tables.insertRow('record', { one: 1, journal: JSON.stringify(journal) }, 'insert or replace');
    this.#journal = journal;
  }
}
