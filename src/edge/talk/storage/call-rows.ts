import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { columnsOf, membersOf } from '../../objects/columns.ts';
import { Rows } from '../../objects/rows.ts';
import { DamagedRow, parseStored } from './damaged-row.ts';
import { PIECE_CHARACTERS } from './message-text.ts';
import { ownersIn, pieceOwner, readDivided, writeDivided } from './pieces.ts';

/** A call of a tool by the edge; times are milliseconds since 1970. */
export interface CallRow {
  /** The number of the step whose answer called it, and which of its calls this is. */
  turn: number;
  n: number;
  /** The id of its `tool_use`. */
  id: string;
  name: string;
  /** Null if it is not known: a call has a row of its own only once it has a result, or is made again. */
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
  /** What is set aside for its subagent; absent if it has none, or was not begun. */
  subagent?: SubagentShare | undefined;
}

/** What a run sets aside for one of its subagents, and what that has cost. */
export interface SubagentShare {
  /** What it may cost, including its own subagents; null if that is not limited. */
  most: Nanodollars | null;
  /** The known cost of its tries. */
  cost: Nanodollars;
  /** How often it was begun again because it had failed without output. */
  attempt: number;
  /** The id of its conversation; absent until it is begun for the first time. */
  conversation?: string | undefined;
}

/** A call that will be made. */
type NewCall = Pick<CallRow, 'id' | 'name'>;

/** A call with its result. `result` is the `tool_result` block as JSON text. */
export type EndedCall = Omit<CallRow, 'beganAt' | 'endedAt'> & { beganAt: number; endedAt: number; result: string };

/** A call that begins now. */
export type BegunCall = Pick<CallRow, 'turn' | 'n' | 'id' | 'name' | 'tries' | 'subagent'>;

/** @returns the column of a subagent's share. Most calls have no subagent and leave the column out. */
function subagentColumn(share: SubagentShare | undefined): { subagent?: string } {
  return share ? { subagent: JSON.stringify(share) } : {};
}

function readCalls(text: unknown): NewCall[] {
  if (typeof text !== 'string') return [];
  const calls = parseStored<[string, string][]>('the calls of a step', text);
  if (!Array.isArray(calls) || !calls.every(Array.isArray)) throw new DamagedRow('the calls of a step');
  return calls.map(([id, name]) => ({ id, name }));
}

/**
 * The rows of calls. Before any call of a step is made, all of them are stored in the step's own row, which is written
 * anyway. Each call gets a row of its own with its result.
 */
export class CallRows extends Rows {
  /** Stores that a call is made again. */
  beginAgain({ tries, ...call }: CallRow, beganAt: number): void {
    this.begin({ ...call, tries: tries + 1 }, beganAt);
  }

  /** Stores that a call has begun. So it has a row of its own before it has a result. */
  begin({ turn, n, id, name, tries, subagent }: BegunCall, beganAt: number): void {
    const row = { turn, n, id, name, began_at: beganAt, tries, ...subagentColumn(subagent) };
    this.tables.insert('calls', row, 'insert or replace');
  }

  end({ turn, n, id, name, beganAt, endedAt, isError, bytes, event, tries, result, subagent }: EndedCall): void {
    const isDivided = result.length > PIECE_CHARACTERS;
    const row = columnsOf({ turn, n, id, name, beganAt, endedAt, isError, bytes, event, tries });
    const all = { ...row, ...subagentColumn(subagent), result: isDivided ? null : result };
    this.tables.insert('calls', all, 'insert or replace');
    if (isDivided) writeDivided(this.tables, pieceOwner(turn, n), result);
  }

  /** Changes the result of a call that has ended. @param result the `tool_result` block as JSON text, which is short */
  changeResult(turn: number, id: string, result: string): void {
    for (const { n } of this.tables.read('select n from calls where turn = ? and id = ?', turn, id)) {
      this.tables.write('delete from pieces where owner = ?', pieceOwner(turn, Number(n)));
      this.tables.update('calls', { result }, 'turn = ? and n = ?', turn, Number(n));
    }
  }

  /** @returns the calls of a step, in their order. */
  of(turn: number): CallRow[] {
    const [step] = this.tables.read('select calls from turns where seq = ?', turn);
    const rows = new Map<number, CallRow>();
    for (const [n, call] of readCalls(step?.calls).entries()) {
      const unknown = { beganAt: null, endedAt: null, isError: false, bytes: 0, event: null, tries: 1 };
      rows.set(n, { turn, n, ...call, ...unknown });
    }
    const columns = 'turn, n, id, name, began_at, ended_at, is_error, bytes, event, tries';
    for (const row of this.tables.read(`select ${columns}, subagent from calls where turn = ? order by n`, turn)) {
      const { subagent, ...known } = row;
      const call = membersOf(known) as unknown as CallRow;
      const { n, bytes } = call;
      const share = typeof subagent === 'string' ? { subagent: JSON.parse(subagent) as SubagentShare } : {};
      rows.set(n, { ...call, isError: row.is_error === 1, bytes: bytes ?? 0, ...share });
    }
    return [...rows.values()];
  }

  /** @returns the `tool_result` blocks of a step's calls as JSON texts, by the ids of the calls. */
  results(turn: number): Map<string, string> {
    const rows = this.tables.read(
      'select n, id, result from calls where turn = ? and ended_at is not null order by n',
      turn,
    );
    return new Map(
      rows.map(({ n, id, result }) => [
        String(id),
        typeof result === 'string' ? result : readDivided(this.tables, pieceOwner(turn, Number(n))),
      ]),
    );
  }

  /** @returns the ids of all calls that the edge has made in this conversation. */
  get ids(): Set<string> {
    const planned = this.tables.read('select calls from turns where calls is not null');
    const ids = planned.flatMap(({ calls }) => readCalls(calls).map(({ id }) => id));
    return new Set([...ids, ...this.tables.read('select id from calls').map(({ id }) => String(id))]);
  }

  /**
   * Stores what a run needs to go on after a crash, as JSON text. It takes the place of calls, which a run's own row never
   * has.
   */
  saveRequest(run: number, text: string): void {
    writeDivided(this.tables, pieceOwner(run, 0), text);
  }

  /** @returns the stored request of a run; empty after the run has ended */
  requestOf(run: number): string {
    return readDivided(this.tables, pieceOwner(run, 0));
  }

  deleteRequest(run: number): void {
    this.tables.write('delete from pieces where owner = ?', pieceOwner(run, 0));
  }

  /** Deletes the calls of turns. @param turns a query of their numbers */
  deleteOf(turns: string, ...bindings: SqlStorageValue[]): void {
    this.tables.write(`delete from pieces where ${ownersIn(turns)}`, ...bindings);
    this.tables.write(`delete from calls where turn in (${turns})`, ...bindings);
  }
}
