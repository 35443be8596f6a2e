/** The rows of runs in a conversation: notes about turns, calls, calls that wait for approval, and events. */

import type { EdgeCalls, PluginRows, PluginRowsDefinition } from '../../conversations/history/storage/plugin-rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { ApprovalRows } from './approvals/approval-rows.ts';
import { toDecisionFields } from './approvals/describe-decision.ts';
import { CallRows, type ToolCallRow } from './call-rows.ts';
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

  constructor(tables: SqlTables, all: SqlTables) {
    const rows = new CallRows(tables, all);
    const approvals = new ApprovalRows(tables);
    this.callRows = rows;
    this.approvals = approvals;
    this.deliveries = new DeliveryRows(tables);
    this.calls = {
      get ids() {
        return rows.allCallIds;
      },
      listCallsOfTurn: (turn) => rows.listCallsOfStep(turn),
      readResultsOfTurn: (turn) => rows.readResultsByCallId(turn),
      replaceResult: (turn, id, result) => rows.replaceCallResult(turn, id, result),
      countCalledTools: (turn) => rows.countCallsByTool(turn),
      describeCallsOfTurn: (turn, inputsIn) =>
        describeCallsForClient(rows.listCallsOfStep(turn), approvals, turn, inputsIn),
    };
  }

  get paused(): 'approval' | null {
    return this.approvals.pausedStatus;
  }

  get keptUntil(): number | undefined {
    const approval = this.approvals.findNewestOpenTime();
    return approval === undefined ? undefined : approval + APPROVAL_MS;
  }

  get nextAt(): number | undefined {
    return this.deliveries.findNextDueTime();
  }

  pauseOf(turn: number): string | null {
    return this.callRows.findPauseReason(turn);
  }

  before(turn: number): number | undefined {
    return this.approvals.listApprovalsContinuedByRun(turn)[0]?.run;
  }

  after(turn: number): number | undefined {
    return (
      this.approvals.listApprovalsOfRun(turn).find(({ continuedBy }) => continuedBy !== null)?.continuedBy ?? undefined
    );
  }

  deleteOf(turns: string, ...bindings: SqlStorageValue[]): void {
    this.callRows.deleteCallsOfTurns(turns, ...bindings);
  }

  dropDamaged(turn: number): void {
    this.callRows.deletePlannedCalls(turn);
  }

  deleteHistoryRows(): void {
    this.callRows.clear();
    this.approvals.clear();
  }

  drop(): void {
    this.deliveries.clear();
  }
}

export const RUN_ROWS: PluginRowsDefinition<RunRows> = {
  name: 'runs',
  tables: RUN_TABLES,
  openRows: (tables, all) => new RunRows(tables, all),
};

/** @returns the calls of the runs of a conversation */
export function getCallRows(transcript: Transcript): CallRows {
  return transcript.getPluginRows(RUN_ROWS).callRows;
}

/** @returns the calls of a conversation that wait for approval, or have waited */
export function getApprovalRows(transcript: Transcript): ApprovalRows {
  return transcript.getPluginRows(RUN_ROWS).approvals;
}

/** @returns the events that a conversation must send */
export function getDeliveryRows(transcript: Transcript): DeliveryRows {
  return transcript.getPluginRows(RUN_ROWS).deliveries;
}

/** @returns the calls that a run has taken up from the paused run. Their rows belong to a step of the paused run. */
export function listContinuedCalls(transcript: Transcript, run: number): ToolCallRow[] {
  return getApprovalRows(transcript)
    .listApprovalsContinuedByRun(run)
    .flatMap(({ turn, n }) =>
      getCallRows(transcript)
        .listCallsOfStep(turn)
        .filter((call) => call.n === n),
    );
}

function describeCallsForClient(
  calls: readonly ToolCallRow[],
  approvals: ApprovalRows,
  turn: number,
  inputsIn: Parameters<EdgeCalls['describeCallsOfTurn']>[1],
): ReturnType<EdgeCalls['describeCallsOfTurn']> {
  const inputs = calls.length === 0 ? undefined : inputsIn(turn);
  const waited = new Map(approvals.listApprovalsOfStep(turn).map((row) => [row.toolUseId, row]));
  return calls.map(({ id, name, beganAt, endedAt, isError, bytes, tries, subagent }) => {
    const row = waited.get(id);
    return {
      id,
      name,
      ...removeUndefined({ conversation: subagent?.conversation }),
      input: inputs?.get(id),
      approval: row ? { id: row.id, ...toDecisionFields(row) } : null,
      ms: endedAt === null || beganAt === null ? null : endedAt - beganAt,
      is_error: endedAt === null ? null : isError,
      bytes: endedAt === null ? null : bytes,
      tries,
    };
  });
}
