/** The messages of the history, as they are read. They are written with the turn that they belong to. */
import type { SqliteRow } from '../../../durable/columns.ts';
import { TableRowsBase } from '../../../durable/rows.ts';
import type { MessageText } from './history-cache.ts';
import { readTextPieces, SHOWN_OWNER_OFFSET } from './pieces.ts';
import {
  type ConversationProfile,
  type ConversationTables,
  type MessageOutline,
  type MessageRow,
  parseMessageRow,
  type TurnStatus,
} from './rows.ts';
import { COMMITTED, NO_ANSWER, SHOWN } from './tables.ts';

/** Some of the messages of the history, by their numbers. */
interface MessageRange {
  from?: number;
  to?: number | undefined;
  isBackwards?: boolean;
  /** Adds the messages of the running turn. */
  pending?: boolean;
  /** Leaves out messages that are not sent: refused turns, and answers without any remaining block. */
  sent?: boolean;
  /** Reads texts as they are shown. */
  shown?: boolean;
}

/** Fifty texts of so many characters are as long as a stretch of work may be. */
const SHORT_MESSAGE = 1_300;

/**
 * Selects the notes only for answers, because the notes of a running turn may be long.
 *
 * @returns the columns of a message and its turn
 * @param text the SQL that selects its text
 */
const createMessageColumnsSql = (text: string) =>
  `m.seq, m.turn, m.id, m.role, m.created_at, ${text}, m.shown, m.origin, t.status, t.cost, t.outcome, t.model, t.run,
   case when t.outcome is not null then t.notes end as notes,
   coalesce((select r.id from turns r where r.seq = t.run), t.id) as turn_id`;

export class MessageRows extends TableRowsBase<ConversationTables> {
  /** Reads the history in order, one message at a time. */
  *readMessages(range: MessageRange = {}): Generator<MessageRow> {
    for (const row of this.#selectMessages(createMessageColumnsSql('m.text'), range) ?? [])
      yield parseMessageRow(row, (seq) => readTextPieces(this.tables, seq), this.#shownTextAt);
  }

  /** Reads as many messages at once, but each long text only when it is taken: no query stays open, and they need not fit into memory. */
  *readPage(range: MessageRange & { limit: number }): Generator<MessageRow> {
    const short = `case when m.characters <= ${SHORT_MESSAGE} then m.text end as text`;
    for (const row of this.#selectMessages(createMessageColumnsSql(short), range)?.toArray() ?? [])
      yield parseMessageRow(row, (seq) => this.#readTextColumn(seq), this.#shownTextAt);
  }

  /**
   * Reads only role, text and status of each message: in a long history every further column costs time.
   *
   * @param isEnd says by its role whether to end before a message. Its text, which may be long, is then not read
   */
  *readMessageTexts(
    range: MessageRange = {},
    isEnd?: (role: string) => boolean,
  ): Generator<MessageText & { turn: number; status: TurnStatus; run: number | null }> {
    const columns = `m.seq, m.turn, m.role, m.text, t.status, t.run${range.shown ? ', m.shown' : ''}`;
    for (const [seq, turn, role, text, status, run, shown] of this.#selectMessages(columns, range)?.raw() ?? []) {
      if (isEnd?.(String(role))) return;
      yield {
        turn: Number(turn),
        run: typeof run === 'number' ? run : null,
        role: String(role),
        text: this.#readMessageText(seq, text, shown),
        status: String(status) as TurnStatus,
      };
    }
  }

  /**
   * Reads what decides how messages are shown. Of the texts it reads only the user's, which may be only results of the edge.
   */
  *readMessageOutlines(range: MessageRange = {}): Generator<MessageOutline> {
    const columns = "m.seq, m.turn, m.id, m.role, t.run, case when m.role = 'user' then m.text end, m.shown";
    for (const [seq, turn, id, role, run, text, shown] of this.#selectMessages(columns, range)?.raw() ?? []) {
      yield {
        seq: Number(seq),
        turn: Number(turn),
        id: String(id),
        role: String(role),
        run: typeof run === 'number' ? run : null,
        readUserText: () => this.#readMessageText(seq, text, shown),
      };
    }
  }

  /** @returns the turn of the next message after a number, whatever its status is. */
  findTurnOfNextMessage(seq: number): number | undefined {
    return this.tables.queryNumber('select turn from messages where seq > ? order by seq limit 1', seq);
  }

  /** @returns the numbers and ids of messages, without their texts. */
  readMessageIds(range: MessageRange & { limit: number }): { seq: number; id: string }[] {
    const rows = this.#selectMessages('m.seq, m.id', range)?.toArray() ?? [];
    return rows.map(({ seq, id }) => ({ seq: Number(seq), id: String(id) }));
  }

  #selectMessages(columns: string, range: MessageRange & { limit?: number }): SqlStorageCursor<SqliteRow> | undefined {
    if (!this.tables.uncheckedProfile) return undefined;
    const { from = 0, to = Number.MAX_SAFE_INTEGER, limit = -1, sent, shown, isBackwards, pending } = range;
    const hasText = `(m.text is not '${NO_ANSWER}'${shown ? ' or m.shown = 1' : ''})`;
    return this.tables.iterateRows<SqliteRow>(
      `select ${columns} from messages m join turns t on t.seq = m.turn
       where m.seq >= ? and m.seq <= ? and t.status in ${pending ? SHOWN : COMMITTED}
             ${sent ? `and t.status != 'refused' and ${hasText}` : ''}
       order by m.seq ${isBackwards ? 'desc' : ''} limit ?`,
      from,
      to,
      limit,
    );
  }

  /** @returns where the message with an id is; undefined if nowhere. */
  findMessage(id: string): { seq: number; turn: number } | undefined {
    if (!this.tables.uncheckedProfile) return undefined;
    const [row] = this.tables.readAllRows(
      `select m.seq, m.turn from messages m join turns t on t.seq = m.turn
       where m.id = ? and t.status in ${COMMITTED} order by m.seq desc limit 1`,
      id,
    );
    return row && { seq: Number(row.seq), turn: Number(row.turn) };
  }

  #readTextColumn(seq: number): string {
    const [row] = this.tables.readAllRows('select text from messages where seq = ?', seq);
    return typeof row?.text === 'string' ? row.text : readTextPieces(this.tables, seq);
  }

  readonly #shownTextAt = (seq: number): string => readTextPieces(this.tables, SHOWN_OWNER_OFFSET + seq);

  /** @param shown 1 for a message that is read as it is shown, where that differs */
  #readMessageText(seq: SqlStorageValue | undefined, ...[text, shown]: (SqlStorageValue | undefined)[]): string {
    if (shown === 1) return this.#shownTextAt(Number(seq));
    return typeof text === 'string' ? text : readTextPieces(this.tables, Number(seq));
  }
}

/** The ids of answers that upstreams have sent, so that a repeated id is found without reading the history. */
type AnswerIds = NonNullable<ConversationProfile['answerIds']>;

/** @returns whether the edge has given an id. It has the turn's own in it, so no other message has it. */
function isIdGivenByEdge(id: string): boolean {
  return id.startsWith('msg_turn_');
}

/** @returns whether an answer can have the id that its upstream gives it: no other message of the conversation has it. */
export function isAnswerIdAvailable(transcript: ConversationTables, id: unknown): boolean {
  if (typeof id !== 'string' || !/^[\w-]{1,128}$/.test(id) || isIdGivenByEdge(id)) return false;
  return (
    !readAnswerIds(transcript).marks.includes(computeIdFingerprints([id])) ||
    !transcript.hasRows('messages where id = ?', id)
  );
}

/** @returns the ids of all messages, the last of which is a new answer @param next the number of the message after it */
export function addAnswerId(transcript: ConversationTables, id: string, next: number): AnswerIds {
  return { from: next, marks: readAnswerIds(transcript).marks + computeIdFingerprints([id]) };
}

/** Reads the ids that are not known yet: of a copy, and of a run that a crash has interrupted. */
function readAnswerIds(transcript: ConversationTables): AnswerIds {
  const { nextMessage = 1, answerIds = { from: 1, marks: '' } }: Partial<ConversationProfile> =
    transcript.uncheckedProfile ?? {};
  if (answerIds.from >= nextMessage) return answerIds;
  const rows = transcript.readAllRows<{ id: string }>('select id from messages where seq >= ?', answerIds.from);
  return { from: nextMessage, marks: answerIds.marks + computeIdFingerprints(rows.map(({ id }) => id)) };
}

/** @returns four characters for each id: two ids may have the same */
function computeIdFingerprints(ids: readonly string[]): string {
  return ids.map((id) => (isIdGivenByEdge(id) ? '' : hashAnswerId(id).toString(36).slice(-4))).join('');
}

function hashAnswerId(id: string): number {
  let hash = 0;
  for (let at = 0; at < id.length; at += 1) hash = (Math.imul(hash, 31) + id.charCodeAt(at)) | 0;
  return hash >>> 0;
}
