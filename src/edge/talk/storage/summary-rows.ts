import type { RequestOutcome } from '../../claude/outcome.ts';
import type { StoredGrant } from '../../money/admission/book-outcome.ts';
import { columnsOf, membersOf, type RawRow } from '../../objects/columns.ts';
import { Rows } from '../../objects/rows.ts';
import { parseStored } from './damaged-row.ts';
import type { ReadableTables } from './rows.ts';

/** A summary of the beginning of a history. Times are milliseconds since 1970. */
export interface SummaryRow {
  id: number;
  /** The number of the last message that it summarizes. */
  until: number;
  /** `void`: the history was rewound to before its end. */
  status: 'running' | 'complete' | 'failed' | 'void';
  /** The number of the newest turn of the history when it was begun. */
  turn: number;
  model: string;
  /** The message that goes up in place of those that it summarizes, as JSON text; null while it is not complete. */
  text: string | null;
  /** The tokens of that message. */
  tokens: number;
  cost: number;
  requestId: string;
  beganAt: number;
  /** When it went up. */
  sentAt: number | null;
  grant: StoredGrant | null;
  /** How it has ended; null while it is running. */
  outcome: RequestOutcome | null;
  settled: boolean;
}

/** What a summary does not have that has no request yet, or whose request is the original's. */
export const BLANK_SUMMARY = {
  status: 'complete',
  requestId: '',
  sentAt: null,
  grant: null,
  outcome: null,
  settled: true,
} as const satisfies Partial<SummaryRow>;

export const NEW_SUMMARY = {
  ...BLANK_SUMMARY,
  ...{ status: 'running', settled: false, model: '', text: null, tokens: 0, cost: 0 },
} as const satisfies Partial<SummaryRow>;

/** Made with the first summary, because most conversations have none. */
const TABLE = `create table if not exists summaries (
  id integer primary key, until integer not null, status text not null, turn integer not null, model text not null,
  text text, tokens integer not null, cost integer not null, request_id text not null,
  began_at integer not null, sent_at integer, grant text, outcome text, settled integer not null
) strict`;

/** One that can be sent: a backup may bring one that ends behind its last message. */
const COMPLETE = "status = 'complete' and exists (select 1 from messages where seq = until)";

/** The summaries of a conversation. Their ids are used only once: turns name by them what they were sent behind. */
export class SummaryRows extends Rows<ReadableTables> {
  /** The highest id that was given; 0 where there is no table yet. */
  get given(): number {
    return this.tables.readable?.summaries ?? 0;
  }

  /** Adds a summary. The profile must be saved with its id as `summaries` in the same step. */
  add(row: SummaryRow): void {
    this.tables.write(TABLE);
    // What a copy has left that was not stored whole is nobody's.
    this.tables.insert('summaries', columnsOf(row), 'insert or replace');
  }

  change(id: number, change: Partial<SummaryRow>): void {
    this.tables.update('summaries', columnsOf(change), 'id = ?', id);
  }

  get(id: number): SummaryRow | undefined {
    return this.#rows('id = ?', id)[0];
  }

  /** @returns the summary that covers most */
  latest(): SummaryRow | undefined {
    return this.#rows(`${COMPLETE} order by until desc, id desc limit 1`)[0];
  }

  /** @returns the summary that was begun last, whatever its status is */
  newest(): SummaryRow | undefined {
    return this.get(this.given);
  }

  /** @returns how many have come to nothing since the last one that is complete */
  failedInARow(): number {
    if (this.given === 0) return 0;
    const last = "coalesce((select max(id) from summaries where status = 'complete'), 0)";
    return this.tables.number(`select count(*) from summaries where status = 'failed' and id > ${last}`);
  }

  /** @returns the summaries of what is before a message, oldest first. @param last the number of that message */
  complete(last = Number.MAX_SAFE_INTEGER): SummaryRow[] {
    return this.#rows(`${COMPLETE} and until <= ? order by id`, last);
  }

  /**
   * @param sentFrom what a prompt begins with: a message's number, or a summary's id below zero
   * @returns the same; 0 for a summary that there is not
   */
  present(sentFrom: number): number {
    return sentFrom >= 0 || this.get(-sentFrom)?.status === 'complete' ? sentFrom : 0;
  }

  /** Whether one is not settled. */
  get hasUnsettled(): boolean {
    return this.given > 0 && this.tables.has('summaries where settled = 0');
  }

  unsettled(): SummaryRow[] {
    return this.#rows('settled = 0 order by id');
  }

  /** Voids what summarizes messages that are deleted. @param cut the number of the first of them */
  rewind(cut: number): void {
    if (this.given > 0) this.tables.update('summaries', { status: 'void', text: null }, 'until >= ?', cut);
  }

  /** Deletes those that are settled. */
  clear(): void {
    if (this.given > 0) this.tables.write('delete from summaries where settled = 1');
  }

  #rows(where: string, ...bindings: SqlStorageValue[]): SummaryRow[] {
    return this.given > 0 ? this.tables.read(`select * from summaries where ${where}`, ...bindings).map(summaryOf) : [];
  }
}

/** @throws DamagedRow if it cannot be read */
function summaryOf(row: RawRow): SummaryRow {
  const members = membersOf(row) as unknown as SummaryRow;
  const { text, grant, outcome } = row;
  const json = <T>(name: string, stored: SqlStorageValue | undefined) =>
    typeof stored === 'string' ? parseStored<T>(`the ${name} of a summary`, stored) : null;
  return {
    ...members,
    text: typeof text === 'string' ? text : null,
    grant: json<StoredGrant>('grant', grant),
    outcome: json<RequestOutcome>('outcome', outcome),
    settled: row.settled === 1,
  };
}
