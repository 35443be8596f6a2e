import type { CallingSurroundings } from '../../claude/calling-object.ts';
import type { BatchState } from './contracts/batch.ts';
import { type Debt, isOpen, type Journal, OWED, owedBy, type Phase, stateOf } from './journal.ts';
import { ObjectRecord } from './object-record.ts';
import { UpstreamBatches } from './upstream-batches.ts';

/** Keeps the journal of one batch, and calls the others that its object needs. */
export class BatchRecord extends ObjectRecord<Journal> {
  constructor(storage: DurableObjectStorage, around: CallingSurroundings) {
    super(storage, around, 'batch');
  }

  /** The upstream's side of the batch. */
  get calls(): UpstreamBatches {
    const { upstream: name, headers = {} } = this.journal ?? {};
    return new UpstreamBatches(this.around.upstream(), this.settings, { name, headers });
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
  enter(phase: Phase, more: Partial<Journal> = {}, owed: readonly Debt[] = OWED[phase]): void {
    const { journal } = this;
    if (!journal) return;
    const isCancelOwed = isOpen({ phase }) && journal.owes.includes('cancel');
    this.change({ ...more, phase, owes: owedBy(journal, isCancelOwed ? [...owed, 'cancel'] : owed) });
  }

  /** Stores a change by which more is owed. */
  owe(debts: readonly Debt[], more: Partial<Journal> = {}): void {
    const { journal } = this;
    if (!journal) return;
    const owes = owedBy({ ...journal, ...more }, [...new Set([...journal.owes, ...debts])]);
    this.change({ ...more, owes });
  }

  /** Notes that a debt of a journal is paid, unless the batch has gone on meanwhile: then it may be owed anew. */
  paid(debt: Debt, { phase, cancelAt }: Journal): void {
    const { journal } = this;
    if (journal?.phase !== phase || journal.cancelAt !== cancelAt) return;
    this.change({ owes: journal.owes.filter((one) => one !== debt) });
  }

  wakeIn(milliseconds: number): void {
    this.around.alarm.wakeFor(this.now + milliseconds);
  }
}
