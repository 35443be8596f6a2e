/** What runs store in a conversation: what they know of their turns, their calls, those that wait for approval, and events. */

import type { EdgeCalls, PluginRows, RowsKind } from '../../conversations/history/storage/plugin-rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import type { Tables } from '../../durable/tables.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { ApprovalRows } from './approvals/approval-rows.ts';
import { describeDecision } from './approvals/describe-decision.ts';
import { type CallRow, CallRows } from './call-rows.ts';
import { DeliveryRows } from './delivery-rows.ts';

/** Milliseconds that a call may wait for its approval, even if the retention of its conversation is shorter. */
const APPROVAL_MS = 30 * DAY_MS;

const RUN_TABLES = `
  create table if not exists runs (
    turn integer primary key,
    calls text,
    paused text,
    waits_until integer
  ) strict;
  create table if not exists calls (
    turn integer not null,
    n integer not null,
    id text not null,
    name text not null,
    began_at integer not null,
    ended_at integer,
    is_error integer,
    bytes integer,
    event integer,
    tries integer not null,
    subagent text,
    result text,
    primary key (turn, n)
  ) strict, without rowid;
  create table if not exists approvals (
    id text primary key,
    run integer not null,
    turn integer not null,
    n integer not null,
    tool_use_id text not null,
    name text not null,
    approvers text not null,
    created_at integer not null,
    decision text,
    reason text,
    input text,
    decided_at integer,
    continued_by integer
  ) strict, without rowid;
  create table if not exists deliveries (
    id text primary key,
    url text,
    body text not null,
    failures integer not null default 0,
    next_at integer not null
  ) strict, without rowid;`;

class RunRows implements PluginRows {
  readonly callRows: CallRows;
  readonly approvals: ApprovalRows;
  readonly deliveries: DeliveryRows;
  readonly calls: EdgeCalls;

  constructor(tables: Tables, all: Tables) {
    const rows = new CallRows(tables, all);
    const approvals = new ApprovalRows(tables);
    this.callRows = rows;
    this.approvals = approvals;
    this.deliveries = new DeliveryRows(tables);
    this.calls = {
      get ids() {
        return rows.ids;
      },
      of: (turn) => rows.callsOfTurn(turn),
      results: (turn) => rows.results(turn),
      changeResult: (turn, id, result) => rows.changeResult(turn, id, result),
      toolsOf: (turn) => rows.countTools(turn),
      shown: (turn, inputsIn) => describeCalls(rows.callsOfTurn(turn), approvals, turn, inputsIn),
    };
  }

  get paused(): 'approval' | null {
    return this.approvals.paused;
  }

  get keptUntil(): number | undefined {
    const approval = this.approvals.newestOpenAt();
    return approval === undefined ? undefined : approval + APPROVAL_MS;
  }

  get nextAt(): number | undefined {
    return this.deliveries.next();
  }

  pauseOf(turn: number): string | null {
    return this.callRows.pauseOf(turn);
  }

  before(turn: number): number | undefined {
    return this.approvals.continuedBy(turn)[0]?.run;
  }

  after(turn: number): number | undefined {
    return this.approvals.listOfRun(turn).find(({ continuedBy }) => continuedBy !== null)?.continuedBy ?? undefined;
  }

  deleteOf(turns: string, ...bindings: SqlStorageValue[]): void {
    this.callRows.deleteOf(turns, ...bindings);
  }

  dropDamaged(turn: number): void {
    this.callRows.dropPlan(turn);
  }

  clear(): void {
    this.callRows.clear();
    this.approvals.clear();
  }

  drop(): void {
    this.deliveries.clear();
  }
}

export const RUN_ROWS: RowsKind<RunRows> = {
  name: 'runs',
  tables: RUN_TABLES,
  open: (tables, all) => new RunRows(tables, all),
};

/** @returns the calls of the runs of a conversation */
export function callRowsOf(transcript: Transcript): CallRows {
  return transcript.rowsOf(RUN_ROWS).callRows;
}

/** @returns the calls of a conversation that wait for approval, or have waited */
export function approvalRowsOf(transcript: Transcript): ApprovalRows {
  return transcript.rowsOf(RUN_ROWS).approvals;
}

/** @returns the events that a conversation must send */
export function deliveryRowsOf(transcript: Transcript): DeliveryRows {
  return transcript.rowsOf(RUN_ROWS).deliveries;
}

/** @returns the calls that a run has taken up from the paused run. Their rows belong to a step of the paused run. */
export function continuedCallsOf(transcript: Transcript, run: number): CallRow[] {
  return approvalRowsOf(transcript)
    .continuedBy(run)
    .flatMap(({ turn, n }) =>
      callRowsOf(transcript)
        .callsOfTurn(turn)
        .filter((call) => call.n === n),
    );
}

function describeCalls(
  calls: readonly CallRow[],
  approvals: ApprovalRows,
  turn: number,
  inputsIn: Parameters<EdgeCalls['shown']>[1],
): ReturnType<EdgeCalls['shown']> {
  const inputs = calls.length === 0 ? undefined : inputsIn(turn);
  const waited = new Map(approvals.listOfStep(turn).map((row) => [row.toolUseId, row]));
  return calls.map(({ id, name, beganAt, endedAt, isError, bytes, tries, subagent }) => {
    const row = waited.get(id);
    return {
      id,
      name,
      ...removeUndefined({ conversation: subagent?.conversation }),
      input: inputs?.get(id),
      approval: row ? { id: row.id, ...describeDecision(row) } : null,
      ms: endedAt === null || beganAt === null ? null : endedAt - beganAt,
      is_error: endedAt === null ? null : isError,
      bytes: endedAt === null ? null : bytes,
      tries,
    };
  });
}
