/**
 * The rows of a conversation: its profile, turns, messages, and the log of the turn that runs.
 *
 * A turn's user messages are written when it begins and its answer when it ends; they belong to the history once the
 * turn's own row says how it ended. So nothing is written twice, and a turn is in the history whole or not at all.
 */

import { migrate, readMeta } from '../../durable/migrations.ts';
import { readFormat, writeFormat } from '../../durable/stored-format.ts';
import { encoder } from '../../http/bytes.ts';
import { type CachedHistory, type CachedTurn, historyCache } from './history-cache.ts';
import { LogRows } from './log-rows.ts';
import { divide, PIECE_CHARACTERS } from './message-text.ts';
import type { MessageRow, Profile, TurnRow, TurnStatus } from './rows.ts';
import {
  COMMITTED,
  CONVERSATION_MIGRATIONS,
  messageRowOf,
  type NewMessage,
  type Range,
  type RawRow,
  SHOWN,
  turnOf,
} from './tables.ts';

type FrozenOwner = 'system' | 'tools';
const OWNERS: Record<FrozenOwner, number> = { system: -1, tools: -2 };

/** `?` for a history of any length. */
const TO_THE_END = Number.MAX_SAFE_INTEGER;

export class Transcript {
  readonly log: LogRows;
  readonly #storage: DurableObjectStorage;
  readonly #key = {};
  #profile: Profile | undefined;
  /** The number of the newest turn, while that is known. */
  #newest: number | undefined;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.log = new LogRows(storage);
    // A read of an unknown id must store nothing, so the tables are made by the first write.
    const meta = readMeta(storage.sql);
    if (meta.size > 0) this.#open(meta);
  }

  get profile(): Profile | undefined {
    return this.#profile;
  }

  /** The cached history; undefined where it must be read. */
  get recollection(): CachedHistory | undefined {
    return historyCache.get(this.#key);
  }

  /** Caches the history until it changes. */
  recollect(recollection: CachedHistory): void {
    historyCache.set(this.#key, recollection);
  }

  /** The number of the newest turn, of whatever status; 0 where there is none. */
  get newestTurn(): number {
    this.#newest ??= Number(this.read('select max(seq) as seq from turns')[0]?.seq ?? 0);
    return this.#newest;
  }

  #forgetHistory(): void {
    historyCache.delete(this.#key);
    this.#newest = undefined;
  }

  /** Makes the tables and writes a new conversation's profile. */
  create(profile: Profile): void {
    this.#forgetHistory();
    this.#open(readMeta(this.#storage.sql));
    this.save(profile);
  }

  /** Forgets everything in memory, after the rows and tables were deleted. */
  forget(): void {
    this.#forgetHistory();
    this.#profile = undefined;
  }

  save(profile: Profile): void {
    // The size of the database does not have this row yet.
    const grown = Math.max(0, profileSizeOf(profile) - (this.#profile ? profileSizeOf(this.#profile) : 0));
    const saved = { ...profile, bytes: this.bytes + grown };
    this.write("insert or replace into meta (key, value) values ('profile', ?)", writeFormat('profile', saved));
    this.#profile = saved;
  }

  /** The bytes of the database with its tables and logs, as the platform bills them. */
  get bytes(): number {
    return this.#storage.sql.databaseSize;
  }

  /** Runs statements in one transaction. */
  together<T>(change: () => T): T {
    return this.#storage.transactionSync(change);
  }

  /** The JSON texts of the frozen `system` and `tools`. */
  get frozen(): Record<FrozenOwner, string | undefined> {
    const texts = { system: '', tools: '' };
    if (this.#profile) {
      const rows = this.read('select owner, text from pieces where owner < 0 order by owner, n');
      for (const { owner, text } of rows) texts[owner === OWNERS.system ? 'system' : 'tools'] += String(text);
    }
    return { system: texts.system || undefined, tools: texts.tools || undefined };
  }

  freeze(owner: FrozenOwner, text: string | undefined): void {
    this.#forgetHistory();
    this.write('delete from pieces where owner = ?', OWNERS[owner]);
    if (text !== undefined) this.#writePieces(OWNERS[owner], text);
  }

  /**
   * Stores a turn and its messages, all or nothing. (Writes between two waits are stored together anyway. A transaction,
   * only to undo them, would cost as much as two rows.)
   */
  beginTurn(turn: TurnRow, messages: readonly NewMessage[]): void {
    this.#addTurn(turn);
    try {
      for (const message of messages) this.addMessage(message);
    } catch (thrown) {
      this.deleteMessages('turn = ?', turn.seq);
      this.deleteTurn(turn.seq);
      throw thrown;
    }
  }

  #addTurn(turn: TurnRow): void {
    this.#newest = Math.max(turn.seq, this.#newest ?? turn.seq);
    this.write(
      `insert into turns (seq, id, request_id, key, hash, status, route, model, began_at, frame, sent_from, follows)
       values (?, ?, ?, ?, ?, 'running', ?, ?, ?, ?, ?, ?)`,
      turn.seq,
      turn.id,
      turn.requestId,
      turn.key,
      turn.hash,
      turn.route,
      turn.model,
      turn.beganAt,
      turn.frame,
      turn.sentFrom,
      turn.follows ? 1 : 0,
    );
  }

  /** Stores what settles a try that has gone up. */
  grantTurn({ seq, grant, sentAt, coversUntil }: TurnRow): void {
    this.write(
      'update turns set grant = ?, sent_at = ?, covers_until = ? where seq = ?',
      grant && writeFormat('grant', grant),
      sentAt,
      coversUntil,
      seq,
    );
  }

  /** Stores until when a silent turn is covered. */
  coverTurn({ seq, coversUntil }: TurnRow): void {
    this.write('update turns set covers_until = ? where seq = ?', coversUntil, seq);
  }

  /** Stores the end of a turn, and drops the cached history, which lacks it. */
  endTurn(turn: TurnRow): void {
    historyCache.delete(this.#key);
    this.write(
      `update turns set status = ?, ended_at = ?, grant = ?, outcome = ?, cost = ?, tokens = ?, frame = ?, events = ?, settled = ?,
         model = ? where seq = ?`,
      turn.status,
      turn.endedAt,
      turn.grant && writeFormat('grant', turn.grant),
      writeFormat('outcome', turn.outcome),
      turn.cost,
      turn.tokens,
      turn.frame,
      turn.events,
      turn.settled ? 1 : 0,
      turn.model,
      turn.seq,
    );
  }

  /** Marks a turn as settled. The id is checked too, because numbers of deleted turns are used again. */
  settleTurn({ seq, id }: Pick<TurnRow, 'seq' | 'id'>): void {
    this.write('update turns set settled = 1 where seq = ? and id = ?', seq, id);
  }

  deleteTurn(seq: number): void {
    this.#forgetHistory();
    this.write('delete from turns where seq = ?', seq);
  }

  /** @returns turns by a condition on their columns, oldest first. */
  turns(where = '1', ...bindings: SqlStorageValue[]): TurnRow[] {
    if (!this.#profile) return [];
    return this.read(`select * from turns where ${where} order by seq`, ...bindings).map(turnOf);
  }

  addMessage(message: NewMessage): void {
    const { seq, turn, id, role, createdAt, text } = message;
    const whole = text.length <= PIECE_CHARACTERS;
    this.write(
      'insert into messages (seq, turn, id, role, created_at, characters, text) values (?, ?, ?, ?, ?, ?, ?)',
      seq,
      turn,
      id,
      role,
      createdAt,
      text.length,
      whole ? text : null,
    );
    if (!whole) this.#writePieces(seq, text);
  }

  /** Deletes messages by a condition on their columns. */
  deleteMessages(where: string, ...bindings: SqlStorageValue[]): void {
    this.#forgetHistory();
    this.write(
      `delete from pieces where owner in (select seq from messages where text is null and ${where})`,
      ...bindings,
    );
    this.write(`delete from messages where ${where}`, ...bindings);
  }

  /**
   * Reads the history in order, one message at a time.
   *
   * @param range `sent` leaves out refused turns, which do not go up; `pending` adds the messages of the running turn
   */
  *history(range: Range = {}): Generator<MessageRow> {
    const columns = 'm.seq, m.turn, m.id, m.role, m.created_at, m.text, t.status, t.cost, t.outcome';
    for (const row of this.#select(columns, range) ?? []) yield messageRowOf(row, (seq) => this.#pieces(seq));
  }

  /** Reads only role, text and status of the history: in a long one each further column costs time. */
  *said(range: Range = {}): Generator<CachedTurn & { status: TurnStatus }> {
    for (const [seq, role, text, status] of this.#select('m.seq, m.role, m.text, t.status', range)?.raw() ?? []) {
      yield {
        role: String(role),
        text: typeof text === 'string' ? text : this.#pieces(Number(seq)),
        status: String(status) as TurnStatus,
      };
    }
  }

  #select(columns: string, range: Range): SqlStorageCursor<RawRow> | undefined {
    if (!this.#profile) return undefined;
    const { from = 0, to = TO_THE_END, sent = false, backwards = false, pending = false } = range;
    return this.#storage.sql.exec<RawRow>(
      `select ${columns} from messages m join turns t on t.seq = m.turn
       where m.seq >= ? and m.seq <= ? and t.status in ${pending ? SHOWN : COMMITTED}
             ${sent ? "and t.status != 'refused'" : ''}
       order by m.seq ${backwards ? 'desc' : ''}`,
      from,
      to,
    );
  }

  /** @returns the numbers and ids of messages, without their texts. */
  places(range: Range & { limit: number }): { seq: number; id: string }[] {
    if (!this.#profile) return [];
    const { from = 0, to = TO_THE_END, limit, backwards = false, pending = false } = range;
    return this.read(
      `select m.seq, m.id from messages m join turns t on t.seq = m.turn
       where m.seq >= ? and m.seq <= ? and t.status in ${pending ? SHOWN : COMMITTED}
       order by m.seq ${backwards ? 'desc' : ''} limit ?`,
      from,
      to,
      limit,
    ).map((row) => ({ seq: Number(row.seq), id: String(row.id) }));
  }

  /** @returns the row of a message of the history by its id. */
  findMessage(id: string): { seq: number; turn: number; role: string } | undefined {
    if (!this.#profile) return undefined;
    const [row] = this.read(
      `select m.seq, m.turn, m.role from messages m join turns t on t.seq = m.turn
       where m.id = ? and t.status in ${COMMITTED}`,
      id,
    );
    return row && { seq: Number(row.seq), turn: Number(row.turn), role: String(row.role) };
  }

  /** Deletes everything but the profile and what is not settled yet. */
  empty(): void {
    this.#forgetHistory();
    for (const table of ['messages', 'pieces', 'log']) this.write(`delete from ${table}`);
    this.write('delete from turns where settled = 1');
  }

  /** Deletes what an interrupted copy has left. A failed first turn stays, so that it can be resumed. */
  dropUnborn(): void {
    this.#forgetHistory();
    for (const table of ['messages', 'pieces']) this.write(`delete from ${table}`);
    this.write(`delete from turns where status in ${COMMITTED}`);
  }

  write(statement: string, ...bindings: SqlStorageValue[]): void {
    this.#storage.sql.exec(statement, ...bindings);
  }

  read(query: string, ...bindings: SqlStorageValue[]): RawRow[] {
    return this.#storage.sql.exec<RawRow>(query, ...bindings).toArray();
  }

  #open(meta: Map<string, string>): void {
    migrate(this.#storage, CONVERSATION_MIGRATIONS, meta);
    const profile = meta.get('profile');
    if (profile !== undefined) this.#profile = readFormat<Profile>('profile', profile);
  }

  #pieces(owner: number): string {
    if (!this.#profile) return '';
    return this.read('select text from pieces where owner = ? order by n', owner)
      .map(({ text }) => text)
      .join('');
  }

  #writePieces(owner: number, text: string): void {
    for (const [n, piece] of divide(text).entries()) {
      this.write('insert into pieces (owner, n, text) values (?, ?, ?)', owner, n, piece);
    }
  }
}

/** @returns the bytes of the members that a caller may make long. */
function profileSizeOf({ title, metadata }: Profile): number {
  return encoder.encode(JSON.stringify([title, metadata])).length;
}
