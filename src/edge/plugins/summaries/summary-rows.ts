import type { RequestOutcome } from '../../claude/outcome.ts';
import { toUsd } from '../../claude/pricing/cost.ts';
import { parseStored } from '../../conversations/history/storage/damaged-row.ts';
import type {
  HistorySubstituteReader,
  PluginRows,
  PluginRowsDefinition,
} from '../../conversations/history/storage/plugin-rows.ts';
import { extractSummaryText } from '../../conversations/history/storage/summary-message.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { type SqliteRow, toColumns, toMembers } from '../../durable/columns.ts';
import { TableRowsBase } from '../../durable/rows.ts';
import { toIsoTime } from '../../kit/http/times.ts';
import type { StoredGrant } from '../../money/admission/price-outcome.ts';

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
  /** The message that is sent in place of those that it summarizes, as JSON text; null while it is not complete. */
  text: string | null;
  /** The tokens of that message. */
  tokens: number;
  cost: number;
  requestId: string;
  beganAt: number;
  /** When it was sent. */
  sentAt: number | null;
  grant: StoredGrant | null;
  /** How it has ended; null while it is running. */
  outcome: RequestOutcome | null;
  settled: boolean;
}

/** The fields of a summary that has no request yet, or whose request belongs to the copied original. */
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
  status: 'running',
  settled: false,
  model: '',
  text: null,
  tokens: 0,
  cost: 0,
} as const satisfies Partial<SummaryRow>;

const TABLE = `
  create table if not exists summaries (
  id integer primary key, until integer not null, status text not null, turn integer not null, model text not null,
  text text, tokens integer not null, cost integer not null, request_id text not null,
  began_at integer not null, sent_at integer, grant text, outcome text, settled integer not null
) strict`;

/** A summary that can be sent. A backup may contain one that ends after its last message. */
const COMPLETE = "status = 'complete' and exists (select 1 from messages where seq = until)";

/**
 * The summaries of a conversation. Their ids are used only once, because turns refer to the summary in their prompt by its id.
 */
export class SummaryRows extends TableRowsBase implements PluginRows, HistorySubstituteReader {
  /** The highest id that was given; 0 where there is none. */
  get highestId(): number {
    return this.tables.queryNumberOrZero('select max(id) from summaries');
  }

  get standIns(): HistorySubstituteReader | undefined {
    return this.tables.areTablesMissing ? undefined : this;
  }

  get isBusy(): boolean {
    return this.tables.hasRows('summaries where settled = 0');
  }

  insertSummary(row: SummaryRow): void {
    // Replace a row with the same id: only an interrupted copy can have left it.
    this.tables.insertRow('summaries', toColumns(row), 'insert or replace');
  }

  updateSummary(id: number, change: Partial<SummaryRow>): void {
    this.tables.updateRows('summaries', toColumns(change), 'id = ?', id);
  }

  get(id: number): SummaryRow | undefined {
    return this.#selectSummaries('id = ?', id)[0];
  }

  /** @returns the summary that covers most */
  findMostCovering(): SummaryRow | undefined {
    return this.#selectSummaries(`${COMPLETE} order by until desc, id desc limit 1`)[0];
  }

  /** @returns the summary that was begun last, whatever its status is */
  findNewestSummary(): SummaryRow | undefined {
    return this.get(this.highestId);
  }

  /** @returns how many summaries have failed since the last complete one */
  countRecentFailures(): number {
    const last = "coalesce((select max(id) from summaries where status = 'complete'), 0)";
    return this.tables.queryNumberOrZero(`select count(*) from summaries where status = 'failed' and id > ${last}`);
  }

  /** @returns the summaries of the messages before a message, oldest first. @param last the number of that message */
  listCompleteSummaries(last = Number.MAX_SAFE_INTEGER): SummaryRow[] {
    return this.#selectSummaries(`${COMPLETE} and until <= ? order by id`, last);
  }

  findUsableById(id: number): SummaryRow | undefined {
    return this.#selectSummaries("id = ? and status = 'complete'", id)[0];
  }

  describeSummaries(
    endsAt: Parameters<HistorySubstituteReader['describeSummaries']>[0],
  ): ReturnType<HistorySubstituteReader['describeSummaries']> {
    if (this.highestId === 0) return undefined;
    // If a summary was made again for the same messages, list only the newest one, with the cost of all of them.
    const byEnd = new Map<number, SummaryRow>();
    for (const row of this.listCompleteSummaries())
      byEnd.set(row.until, { ...row, cost: row.cost + (byEnd.get(row.until)?.cost ?? 0) });
    return [...byEnd.values()].map((row) => ({
      ...endsAt(row.until),
      content: extractSummaryText(row),
      model: row.model,
      created_at: toIsoTime(row.beganAt),
      cost_usd: toUsd(row.cost),
    }));
  }

  listUnsettledSummaries(): SummaryRow[] {
    return this.#selectSummaries('settled = 0 order by id');
  }

  /** Voids what summarizes messages that are deleted. @param cut the number of the first of them */
  voidSummariesFrom(cut: number): void {
    this.tables.updateRows('summaries', { status: 'void', text: null }, 'until >= ?', cut);
  }

  /** Deletes those that are settled. */
  deleteHistoryRows(): void {
    this.tables.runWriteStatement('delete from summaries where settled = 1');
  }

  #selectSummaries(where: string, ...bindings: SqlStorageValue[]): SummaryRow[] {
    return this.tables.readAllRows(`select * from summaries where ${where}`, ...bindings).map(parseSummaryRow);
  }
}

/** @throws DamagedRow if it cannot be read */
function parseSummaryRow(row: SqliteRow): SummaryRow {
  const members = toMembers<SummaryRow>(row);
  const { text, grant, outcome } = row;
  const parseJsonColumn = <T>(name: string, stored: SqlStorageValue | undefined) =>
    typeof stored === 'string' ? parseStored<T>(`the ${name} of a summary`, stored) : null;
  return {
    ...members,
    text: typeof text === 'string' ? text : null,
    grant: parseJsonColumn<StoredGrant>('grant', grant),
    outcome: parseJsonColumn<RequestOutcome>('outcome', outcome),
    settled: row.settled === 1,
  };
}

export const SUMMARY_ROWS: PluginRowsDefinition<SummaryRows> = {
  name: 'summaries',
  tables: TABLE,
  openRows: (tables) => new SummaryRows(tables),
};

/** @returns the summaries of a conversation */
export function getSummaryRows(transcript: Transcript): SummaryRows {
  return transcript.getPluginRows(SUMMARY_ROWS);
}
