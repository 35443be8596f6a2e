/** Keeps the journal of an object that works by itself: in memory, and in a table of one row. */

import type { CallingSurroundings } from '../../claude/calling-object.ts';
import type { Settings } from '../../gate/settings/settings.ts';
import { logFailure } from '../../kit/http/log.ts';
import type { Bindings } from '../../kit/rooms/bindings.ts';
import type { AccountObject } from '../../money/contracts/account.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import type { ObjectName, Remote } from '../../objects/call-object.ts';
import { makeOnWrite } from '../../objects/schema.ts';
import { Tables } from '../../objects/tables.ts';

const RECORD_TABLE = 'create table record (one integer primary key check (one = 1), journal text not null) strict;';

/** What each journal says: whose object this is. */
export interface ObjectJournal {
  id: string;
  account: string;
}

/** A change of a journal. Undefined members are removed from it. */
type ChangeOf<Journal> = { [Name in keyof Journal]?: Journal[Name] | undefined };

/**
 * Keeps the journal. After each wait, it must be read again: another call may have changed it meanwhile, or the object may be
 * forgotten.
 */
export class ObjectRecord<Journal extends ObjectJournal> {
  protected readonly around: CallingSurroundings;
  readonly #storage: DurableObjectStorage;
  readonly #name: ObjectName;
  #journal: Journal | undefined;

  /** @param name what the object is called in logs */
  constructor(storage: DurableObjectStorage, around: CallingSurroundings, name: ObjectName) {
    this.#storage = storage;
    this.around = around;
    this.#name = name;
    const [row] = this.#tables().read<{ journal: string }>('select journal from record');
    if (row) this.#journal = JSON.parse(row.journal) as Journal;
  }

  /** The journal as it is now; undefined before it is begun, and after it is forgotten. */
  get journal(): Journal | undefined {
    return this.#journal;
  }

  get now(): number {
    return this.around.now();
  }

  get settings(): Settings {
    return this.around.settings();
  }

  get env(): Bindings {
    return this.around.env;
  }

  /** Stores the first form of the journal. */
  begin(journal: Journal): void {
    this.#save(journal, this.#tables());
  }

  /** Changes the journal and stores it. Does nothing if the object was forgotten meanwhile. */
  change(change: ChangeOf<Journal>): void {
    if (this.#journal) this.#save({ ...this.#journal, ...change });
  }

  async forget(): Promise<void> {
    this.#journal = undefined;
    await this.around.deleteAll();
  }

  /** Calls the account that owns the object, and repeats the call for some seconds. @throws ObjectUnreachable 503 */
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
      logFailure({ [this.#name]: this.#journal?.id ?? '' }, thrown);
      return false;
    }
  }

  #tables(): Tables {
    return new Tables(this.#storage, makeOnWrite(this.#storage, RECORD_TABLE));
  }

  #save(journal: Journal, tables = new Tables(this.#storage)): void {
    tables.insert('record', { one: 1, journal: JSON.stringify(journal) }, 'insert or replace');
    this.#journal = journal;
  }
}
