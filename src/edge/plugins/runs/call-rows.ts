import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { DamagedRow, parseStored } from '../../conversations/history/storage/damaged-row.ts';
import { PIECE_CHARACTERS } from '../../conversations/history/storage/message-text.ts';
import { getPieceOwnerNumber, readTextPieces, writeTextPieces } from '../../conversations/history/storage/pieces.ts';
import { toColumns, toMembers } from '../../durable/columns.ts';
import { TableRowsBase } from '../../durable/rows.ts';
import type { SqlTables } from '../../durable/tables.ts';
import type { ToolCallStats } from '../../money/contracts/settlement.ts';

/** A call of a tool by the edge; times are milliseconds since 1970. */
export interface ToolCallRow {
  /** The number of the step whose answer called it, and which of its calls this is. */
  turn: number;
  n: number;
  /** The id of its `tool_use`. */
  id: string;
  name: string;
  /** Null if unknown: a call has its own row only once it has a result, or is made again. */
  beganAt: number | null;
  /** Null while the call runs, and if a crash has hidden whether it was made. */
  endedAt: number | null;
  isError: boolean;
  /** Bytes of the tool's answer. */
  bytes: number;
  /** The number of the event that shows its result; null if it was not shown, or if the log has the event. */
  event: number | null;
  /** How often it was made. */
  tries: number;
  /** The share of its subagent; absent if it has none, or if the subagent was not started. */
  subagent?: SubagentBudgetShare | undefined;
}

/** The budget that a run reserves for one of its subagents, and the subagent's cost. */
export interface SubagentBudgetShare {
  /** Its maximum cost, including its own subagents; null if that is not limited. */
  most: Nanodollars | null;
  /** The known cost of its tries. */
  cost: Nanodollars;
  /** How often it was begun again because it had failed without output. */
  attempt: number;
  /** The id of its conversation; absent until it is begun for the first time. */
  conversation?: string | undefined;
}

/** A call that will be made. */
type ToolCallIdAndName = Pick<ToolCallRow, 'id' | 'name'>;

/** A call with its result. `result` is the `tool_result` block as JSON text. */
export type EndedCall = Omit<ToolCallRow, 'beganAt' | 'endedAt'> & { beganAt: number; endedAt: number; result: string };

/** A call that begins now. */
export type StartedToolCall = Pick<ToolCallRow, 'turn' | 'n' | 'id' | 'name' | 'tries' | 'subagent'>;

/** @returns the column of a subagent's share. Most calls have no subagent and leave the column out. */
function toSubagentColumn(share: SubagentBudgetShare | undefined): { subagent?: string } {
  return share ? { subagent: JSON.stringify(share) } : {};
}

function readCalls(text: unknown): ToolCallIdAndName[] {
  if (typeof text !== 'string') return [];
  const calls = parseStored<[string, string][]>('the calls of a step', text);
  if (!Array.isArray(calls) || !calls.every(Array.isArray)) throw new DamagedRow('the calls of a step');
  return calls.map(([id, name]) => ({ id, name }));
}

/**
 * The run's data about its turns, and the rows of its calls. Before any call of a step is made, all calls are stored in one row
 * with the step's end. Each call gets its own row with its result.
 */
export class CallRows extends TableRowsBase {
  /** Those of the conversation, which has texts of any length. */
  readonly #all: SqlTables;

  constructor(tables: SqlTables, all: SqlTables) {
    super(tables);
    this.#all = all;
  }

  /** Stores the calls of a step that will be made. */
  storePlannedCalls(turn: number, calls: readonly ToolCallIdAndName[]): void {
    const text = JSON.stringify(calls.map(({ id, name }) => [id, name]));
    this.tables.insertRow('runs', { turn, calls: text }, 'insert or replace');
  }

  /** @returns whether calls of a step were stored before they were made */
  isPlanned(turn: number): boolean {
    return this.tables.hasRows('runs where turn = ? and calls is not null', turn);
  }

  /** Stores why a run has paused before its end. */
  storePauseReason(run: number, paused: string): void {
    this.tables.insertRow('runs', { turn: run, paused }, 'insert or replace');
  }

  /** Stores that a run waits until a time, in milliseconds since 1970, before it tries its next step again. */
  storeWait(run: number, paused: string, until: number): void {
    this.tables.insertRow('runs', { turn: run, paused, waits_until: until }, 'insert or replace');
  }

  /** @returns until when a run waits, in milliseconds since 1970; undefined if it does not wait */
  findWaitEnd(run: number): number | undefined {
    return this.tables.queryNumber('select waits_until from runs where turn = ? and waits_until is not null', run);
  }

  /** Stores that a run does not wait any more. */
  deletePause(run: number): void {
    this.tables.runWriteStatement('delete from runs where turn = ?', run);
  }

  /** @returns why a run has paused before its end; null if it has not, or if that is not known */
  findPauseReason(run: number): string | null {
    const [row] = this.tables.readAllRows<{ paused: string | null }>('select paused from runs where turn = ?', run);
    return row?.paused ?? null;
  }

  /** Stores that a call is made again. */
  storeCallRetry({ tries, ...call }: ToolCallRow, beganAt: number): void {
    this.storeStartedCall({ ...call, tries: tries + 1 }, beganAt);
  }

  /** Stores that a call has begun, so that it has its own row before it has a result. */
  storeStartedCall({ turn, n, id, name, tries, subagent }: StartedToolCall, beganAt: number): void {
    const row = { turn, n, id, name, began_at: beganAt, tries, ...toSubagentColumn(subagent) };
    this.tables.insertRow('calls', row, 'insert or replace');
  }

  storeEndedCall({
    turn,
    n,
    id,
    name,
    beganAt,
    endedAt,
    isError,
    bytes,
    event,
    tries,
    result,
    subagent,
  }: EndedCall): void {
    const isDivided = result.length > PIECE_CHARACTERS;
    const row = toColumns({ turn, n, id, name, beganAt, endedAt, isError, bytes, event, tries });
    const all = { ...row, ...toSubagentColumn(subagent), result: isDivided ? null : result };
    this.tables.insertRow('calls', all, 'insert or replace');
    if (isDivided) writeTextPieces(this.#all, getPieceOwnerNumber(turn, n), result);
  }

  /** Changes the result of a call that has ended. @param result the `tool_result` block as JSON text, which is short */
  replaceCallResult(turn: number, id: string, result: string): void {
    for (const { n } of this.tables.readAllRows('select n from calls where turn = ? and id = ?', turn, id)) {
      this.#all.runWriteStatement('delete from pieces where owner = ?', getPieceOwnerNumber(turn, Number(n)));
      this.tables.updateRows('calls', { result }, 'turn = ? and n = ?', turn, Number(n));
    }
  }

  /** @returns the calls of a step, in their order. */
  listCallsOfStep(turn: number): ToolCallRow[] {
    const [step] = this.tables.readAllRows('select calls from runs where turn = ?', turn);
    const rows = new Map<number, ToolCallRow>();
    for (const [n, call] of readCalls(step?.calls).entries()) {
      const unknown = { beganAt: null, endedAt: null, isError: false, bytes: 0, event: null, tries: 1 };
      rows.set(n, { turn, n, ...call, ...unknown });
    }
    const columns = 'turn, n, id, name, began_at, ended_at, is_error, bytes, event, tries';
    for (const row of this.tables.readAllRows(
      `select ${columns}, subagent from calls where turn = ? order by n`,
      turn,
    )) {
      const { subagent, ...known } = row;
      const call = toMembers<ToolCallRow>(known);
      const { n, bytes } = call;
      const share = typeof subagent === 'string' ? { subagent: JSON.parse(subagent) as SubagentBudgetShare } : {};
      rows.set(n, { ...call, isError: row.is_error === 1, bytes: bytes ?? 0, ...share });
    }
    return [...rows.values()];
  }

  /** @returns the `tool_result` blocks of a step's calls as JSON texts, by the ids of the calls. */
  readResultsByCallId(turn: number): Map<string, string> {
    const rows = this.tables.readAllRows(
      'select n, id, result from calls where turn = ? and ended_at is not null order by n',
      turn,
    );
    return new Map(
      rows.map(({ n, id, result }) => [
        String(id),
        typeof result === 'string' ? result : readTextPieces(this.#all, getPieceOwnerNumber(turn, Number(n))),
      ]),
    );
  }

  /** @returns the ids of all calls that the edge has made in this conversation. */
  get allCallIds(): Set<string> {
    const planned = this.tables.readAllRows('select calls from runs where calls is not null');
    const ids = planned.flatMap(({ calls }) => readCalls(calls).map(({ id }) => id));
    return new Set([...ids, ...this.tables.readAllRows('select id from calls').map(({ id }) => String(id))]);
  }

  /**
   * Stores what a run needs to continue after a crash, as JSON text, in the column for results, which a run's own row never
   * has.
   */
  storeRunRequest(run: number, text: string): void {
    writeTextPieces(this.#all, getPieceOwnerNumber(run, 0), text);
  }

  /** @returns the stored request of a run; empty after the run has ended */
  readRunRequest(run: number): string {
    return readTextPieces(this.#all, getPieceOwnerNumber(run, 0));
  }

  deleteRunRequest(run: number): void {
    this.#all.runWriteStatement('delete from pieces where owner = ?', getPieceOwnerNumber(run, 0));
  }

  /** Deletes the calls of turns. @param turns a query of their numbers */
  deleteCallsOfTurns(turns: string, ...bindings: SqlStorageValue[]): void {
    for (const table of ['calls', 'runs'])
      this.tables.runWriteStatement(`delete from ${table} where turn in (${turns})`, ...bindings);
  }

  /** Deletes which calls a step has planned, since that cannot be read. */
  deletePlannedCalls(turn: number): void {
    this.tables.updateRows('runs', { calls: null }, 'turn = ?', turn);
  }

  clear(): void {
    for (const table of ['calls', 'runs']) this.tables.runWriteStatement(`delete from ${table}`);
  }

  /** @returns how often the tools of a step were called; undefined if none was */
  countCallsByTool(turn: number): Record<string, ToolCallStats> | undefined {
    const tools = this.tables.readAllRows(
      `select name, count(*) as calls, sum(is_error) as errors, sum(ended_at - began_at) as ms from calls
       where ended_at is not null and turn = ? group by name`,
      turn,
    );
    if (tools.length === 0) return undefined;
    return Object.fromEntries(
      tools.map(({ name, calls, errors, ms }) => [String(name), [Number(calls), Number(errors), Number(ms)]]),
    );
  }
}
