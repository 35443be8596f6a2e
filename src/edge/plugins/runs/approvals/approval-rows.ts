import { type SqliteRow, toColumns, toMembers } from '../../../durable/columns.ts';
import { TableRowsBase } from '../../../durable/rows.ts';
import type { ApproverRole } from '../../../registry/tools/tool-kind.ts';

/** A call that waits for approval, or has waited. Times are milliseconds since 1970. */
export interface ApprovalRow {
  id: string;
  /** The number of the run that has paused. */
  run: number;
  /** The number of the step whose answer called it, and which of its calls this is. */
  turn: number;
  n: number;
  toolUseId: string;
  name: string;
  approvers: ApproverRole;
  createdAt: number;
  /** Null until there is a decision. `cancel` means that its turn was cancelled before any decision. */
  decision: 'approve' | 'deny' | 'cancel' | null;
  reason: string | null;
  /** The input that replaces the model's, as JSON text; null if the model's stays. */
  input: string | null;
  decidedAt: number | null;
  /** The number of the run that has continued with it. */
  continuedBy: number | null;
}

/** The calls of a conversation that wait for approval. A decided row stays as long as its call is part of the history. */
export class ApprovalRows extends TableRowsBase {
  /**
   * Whether the last read found no open call. Cached, because every turn checks it, and most conversations never have such
   * calls.
   */
  #noneIsOpen = false;

  insertApproval(
    row: Pick<ApprovalRow, 'id' | 'run' | 'turn' | 'n' | 'toolUseId' | 'name' | 'approvers' | 'createdAt'>,
  ): void {
    this.#noneIsOpen = false;
    const { id, run, turn, n, name, approvers } = row;
    const shared = { id, run, turn, n, name, approvers };
    this.tables.insertRow('approvals', { ...shared, tool_use_id: row.toolUseId, created_at: row.createdAt });
  }

  /** @returns the calls that are still to be decided, in their order */
  listOpenApprovals(): ApprovalRow[] {
    // Check for an open approval first, because preparing the full query takes three times as long (measured).
    return this.#hasOpenApproval() ? this.#queryApprovals('decision is null') : [];
  }

  #hasOpenApproval(): boolean {
    this.#noneIsOpen ||= !this.tables.hasRows('approvals where decision is null');
    return !this.#noneIsOpen;
  }

  /** The value of `paused` in lists and reports: 'approval' while calls wait; null otherwise. */
  get pausedStatus(): 'approval' | null {
    return this.#hasOpenApproval() ? 'approval' : null;
  }

  /** @returns all calls of a paused run, decided or not */
  listApprovalsOfRun(run: number): ApprovalRow[] {
    return this.#queryApprovals('run = ?', run);
  }

  /** @returns all calls of a step, decided or not */
  listApprovalsOfStep(turn: number): ApprovalRow[] {
    return this.#queryApprovals('turn = ?', turn);
  }

  listApprovalsContinuedByRun(run: number): ApprovalRow[] {
    return this.#queryApprovals('continued_by = ?', run);
  }

  findApproval(id: string): ApprovalRow | undefined {
    return this.#queryApprovals('id = ?', id).at(0);
  }

  /** @returns when the newest open call was stored; undefined if none is open */
  findNewestOpenTime(): number | undefined {
    return this.tables.queryNumber('select max(created_at) from approvals where decision is null');
  }

  /** Deletes the calls of all turns from a number on, which are no longer part of the history. */
  deleteApprovalsFromTurn(turn: number): void {
    this.tables.runWriteStatement('delete from approvals where run >= ?', turn);
    // Clear references to deleted continuations: turn numbers are reused after a rewind, and another turn may get the same
    // number.
    this.tables.updateRows('approvals', { continued_by: null }, 'continued_by >= ?', turn);
  }

  clear(): void {
    this.tables.runWriteStatement('delete from approvals');
  }

  /** Stores the decision about a call. */
  storeDecision(id: string, decided: Pick<ApprovalRow, 'decision' | 'reason' | 'input' | 'decidedAt'>): void {
    this.tables.updateRows('approvals', toColumns(decided), 'id = ?', id);
  }

  /** Stores that a run continues with the calls of a paused run. */
  markContinuedByRun(paused: number, run: number): void {
    this.tables.updateRows('approvals', { continued_by: run }, 'run = ? and continued_by is null', paused);
  }

  /** @returns how many characters the inputs have that people have changed in a run */
  countChangedInputCharacters(run: number): number {
    return this.tables.queryNumberOrZero('select sum(length(input)) from approvals where run = ?', run);
  }

  /** @returns whether a call of a run is not decided */
  hasUndecidedCall(run: number): boolean {
    return this.tables.hasRows('approvals where run = ? and decision is null', run);
  }

  #queryApprovals(condition: string, ...bindings: SqlStorageValue[]): ApprovalRow[] {
    return this.tables
      .readAllRows<SqliteRow>(`select * from approvals where ${condition} order by turn, n`, ...bindings)
      .map((row) => {
        // Throw if the stored input is damaged, so that such a call cannot be approved.
        JSON.parse(String(row.input));
        return toMembers<ApprovalRow>(row);
      });
  }
}
