import type { Tables } from '../../durable/tables.ts';
import { divideText, PIECE_CHARACTERS } from './message-text.ts';

/** A call of a tool by the edge; times are milliseconds since 1970. */
export interface CallRow {
  /** The number of the step whose answer called it, and which of its calls this is. */
  turn: number;
  n: number;
  /** The id of its `tool_use`. */
  id: string;
  name: string;
  beganAt: number;
  /** Null while it is made, or after a crash has hidden whether it was. */
  endedAt: number | null;
  isError: boolean;
  /** Bytes of the tool's answer. */
  bytes: number;
}

/** How a call has ended. */
export type CallEnd = Pick<CallRow, 'isError' | 'bytes'> & {
  endedAt: number;
  /** The block `tool_result` as JSON text. */
  result: string;
};

/** An answer has far fewer calls than this. */
const MOST_IN_A_STEP = 10_000;
/** The pieces of results have numbers below those of everything else. */
const FIRST_OWNER = -1_000;

/** The rows of calls: one is written before a call is made, and again once its result is there. */
export class CallRows {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  begin({ turn, n, id, name, beganAt }: Pick<CallRow, 'turn' | 'n' | 'id' | 'name' | 'beganAt'>): void {
    this.#tables.insert('calls', { turn, n, id, name, began_at: beganAt });
  }

  end({ turn, n }: Pick<CallRow, 'turn' | 'n'>, { endedAt, isError, bytes, result }: CallEnd): void {
    const isDivided = result.length > PIECE_CHARACTERS;
    this.#tables.write(
      'update calls set ended_at = ?, is_error = ?, bytes = ?, result = ? where turn = ? and n = ?',
      ...[endedAt, Number(isError), bytes, isDivided ? null : result, turn, n],
    );
    if (isDivided) this.#writePieces(resultOwner(turn, n), result);
  }

  /** @returns the calls of a step, in their order. */
  of(turn: number): CallRow[] {
    const columns = 'turn, n, id, name, began_at, ended_at, is_error, bytes';
    return this.#tables.read(`select ${columns} from calls where turn = ? order by n`, turn).map((row) => ({
      turn,
      n: Number(row.n),
      id: String(row.id),
      name: String(row.name),
      beganAt: Number(row.began_at),
      endedAt: row.ended_at === null ? null : Number(row.ended_at),
      isError: row.is_error === 1,
      bytes: Number(row.bytes ?? 0),
    }));
  }

  /** @returns the results of a step's calls, each a block as JSON text, by the ids of the calls. */
  results(turn: number): Map<string, string> {
    const rows = this.#tables.read(
      'select n, id, result from calls where turn = ? and ended_at is not null order by n',
      turn,
    );
    return new Map(
      rows.map(({ n, id, result }) => [
        String(id),
        typeof result === 'string' ? result : this.#pieces(resultOwner(turn, Number(n))),
      ]),
    );
  }

  /** @returns the ids of all calls that the edge has made in this conversation. */
  get ids(): Set<string> {
    return new Set(this.#tables.read('select id from calls').map(({ id }) => String(id)));
  }

  /** Stores what a run needs to go on after a crash, as JSON text. A run itself makes no calls: their place is free. */
  saveRequest(run: number, text: string): void {
    this.#writePieces(resultOwner(run, 0), text);
  }

  /** @returns what was stored of a run's request; empty where it has ended */
  requestOf(run: number): string {
    return this.#pieces(resultOwner(run, 0));
  }

  deleteRequest(run: number): void {
    this.#tables.write('delete from pieces where owner = ?', resultOwner(run, 0));
  }

  delete(turn: number): void {
    const range = [resultOwner(turn, MOST_IN_A_STEP), resultOwner(turn, 0)];
    this.#tables.write('delete from pieces where owner > ? and owner <= ?', ...range);
    this.#tables.write('delete from calls where turn = ?', turn);
  }

  #writePieces(owner: number, whole: string): void {
    for (const [n, text] of divideText(whole).entries()) this.#tables.insert('pieces', { owner, n, text });
  }

  #pieces(owner: number): string {
    const rows = this.#tables.read('select text from pieces where owner = ? order by n', owner);
    return rows.map(({ text }) => text).join('');
  }
}

function resultOwner(turn: number, n: number): number {
  return FIRST_OWNER - turn * MOST_IN_A_STEP - n;
}
