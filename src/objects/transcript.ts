/**
 * The rows of a conversation: its profile, turns, messages, and the log of the turn that runs.
 *
 * A turn's user messages are written when it begins and its answer when it ends; they belong to the history once the
 * turn's own row says how it ended. So nothing is written twice, and a turn is in the history whole or not at all.
 */

import type { Outcome } from '../claude/relay.ts';
import type { Grant } from './booking.ts';
import { type FormatName, readFormat, writeFormat } from './formats.ts';
import type { HeldPrefix } from './held-prefix.ts';
import { shown } from './log-text.ts';
import { divide, PIECE_CHARACTERS } from './message-text.ts';
import { type Migration, migrate, readMeta } from './migrations.ts';
import { type Recollection, recollections, type Said } from './recollection.ts';

export const CONVERSATION_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    sql: `
      create table turns (
        seq integer primary key,
        id text not null,
        request_id text not null,
        key text,
        hash text not null,
        status text not null,
        route text not null,
        model text not null,
        began_at integer not null,
        ended_at integer,
        grant text,
        outcome text,
        settled integer not null default 0,
        cost integer not null default 0,
        tokens integer,
        frame text,
        sent_from integer not null,
        follows integer not null,
        events integer not null default 0
      ) strict;
      create index turns_by_key on turns (key) where key is not null;
      create table messages (
        seq integer primary key,
        turn integer not null,
        id text not null,
        role text not null,
        created_at integer not null,
        characters integer not null,
        text text
      ) strict;
      create table pieces (
        owner integer not null,
        n integer not null,
        text text not null,
        primary key (owner, n)
      ) strict, without rowid;
      create table log (
        turn integer not null,
        n integer not null,
        first integer not null,
        text text not null,
        primary key (turn, n)
      ) strict, without rowid;`,
  },
  {
    version: 2,
    sql: `
      alter table turns add column sent_at integer;
      alter table turns add column covers_until integer;
      alter table log add column at integer;
      alter table log add column unseen_ms integer;`,
  },
];

/** How a turn stands. `failed` never was one: it is kept until it is settled and its log has been read. */
export type TurnStatus = 'running' | 'complete' | 'interrupted' | 'stopped' | 'refused' | 'empty' | 'failed';

/** What a conversation is, beside its messages. */
export interface Profile {
  account: string;
  id: string;
  /** Whether it exists: a first turn that fails leaves nothing. */
  exists: boolean;
  createdAt: number;
  updatedAt: number;
  /** Grows with each change, so that the account's list cannot go back. */
  version: number;
  /** Whether the account has not confirmed the last change that came by no turn. */
  unreported: boolean;
  title: string | null;
  metadata: Record<string, unknown> | null;
  model: string | null;
  maxTokens: number | null;
  /** Absent in what was created before there were prefixes. */
  prefix?: HeldPrefix | null;
  retentionSeconds: number | null;
  history: { max_tokens: number; strategy: 'error' | 'truncate' } | null;
  turns: number;
  messages: number;
  /** What the object took up when this was saved. */
  bytes?: number;
  cost: number;
  inputTokens: number;
  outputTokens: number;
  nextTurn: number;
  nextMessage: number;
  /** The first message that is sent: those before it were left out to make room. */
  sentFrom: number;
  /** What the list must do about it; a conversation that is deleted waits for this alone. */
  deleted: boolean;
}

export interface TurnRow {
  seq: number;
  id: string;
  requestId: string;
  key: string | null;
  hash: string;
  status: TurnStatus;
  route: string;
  model: string;
  beganAt: number;
  endedAt: number | null;
  grant: Grant | null;
  /** When the try that is granted went up. */
  sentAt: number | null;
  /** Until when what is stored tells what a turn can have cost that has died. */
  coversUntil: number | null;
  outcome: Outcome | null;
  settled: boolean;
  cost: number;
  /** Input and output tokens that the upstream reported for it. */
  tokens: number | null;
  /** What of the request, beside the messages, decides how many tokens its prompt has; null if that is not told. */
  frame: string | null;
  sentFrom: number;
  /** Whether it goes on with the turn before it: results of its tool calls, or the rest of a paused answer. */
  follows: boolean;
  events: number;
}

export interface MessageRow {
  seq: number;
  turn: number;
  id: string;
  role: string;
  createdAt: number;
  text: string;
  status: TurnStatus;
  cost: number;
  outcome: Outcome | null;
}

/** A message before its turn has come to anything. */
type NewMessage = Pick<MessageRow, 'seq' | 'turn' | 'id' | 'role' | 'createdAt' | 'text'>;

/** Turns that are part of the history. */
export const COMMITTED = "('complete', 'interrupted', 'stopped', 'refused', 'empty')";

/** The same with the turn that runs. */
const SHOWN = "('complete', 'interrupted', 'stopped', 'refused', 'empty', 'running')";

/** Some of the messages, by their numbers. */
interface Range {
  from?: number;
  to?: number;
  backwards?: boolean;
  pending?: boolean;
  sent?: boolean;
}

/** What is open stands among the newest turns: to look for it does not take longer in a long conversation. */
export const RECENT = 'seq > (select max(seq) - 200 from turns)';

const encoder = new TextEncoder();

type Raw = Record<string, SqlStorageValue>;
type Owner = 'system' | 'tools';
const OWNERS: Record<Owner, number> = { system: -1, tools: -2 };

/** `?` for a history of any length. */
const TO_THE_END = Number.MAX_SAFE_INTEGER;

export class Transcript {
  readonly #storage: DurableObjectStorage;
  readonly #key = {};
  #profile: Profile | undefined;
  /** The number of the newest turn, while that is known. */
  #newest: number | undefined;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    // An object that nobody has written to leaves no trace: asking for an unknown id must cost nothing.
    const meta = readMeta(storage.sql);
    if (meta.size > 0) this.#open(meta);
  }

  get profile(): Profile | undefined {
    return this.#profile;
  }

  /** What is remembered of the history as it stands; undefined where it must be read. */
  get recollection(): Recollection | undefined {
    return recollections.get(this.#key);
  }

  /** Remembers the history until it changes. */
  recollect(recollection: Recollection): void {
    recollections.set(this.#key, recollection);
  }

  /** The number of the newest turn, of whatever status; 0 where there is none. */
  get newestTurn(): number {
    this.#newest ??= Number(this.read('select max(seq) as seq from turns')[0]?.seq ?? 0);
    return this.#newest;
  }

  #forgetHistory(): void {
    recollections.drop(this.#key);
    this.#newest = undefined;
  }

  /** Makes the tables and writes a new conversation's profile. */
  create(profile: Profile): void {
    this.#forgetHistory();
    this.#open(readMeta(this.#storage.sql));
    this.save(profile);
  }

  /** Everything has been deleted, the tables too. */
  forget(): void {
    this.#forgetHistory();
    this.#profile = undefined;
  }

  save(profile: Profile): void {
    // What this very row adds is not in the size of what is stored yet.
    const grown = Math.max(0, sizeOf(profile) - (this.#profile ? sizeOf(this.#profile) : 0));
    const saved = { ...profile, bytes: this.bytes + grown };
    this.write("insert or replace into meta (key, value) values ('profile', ?)", writeFormat('profile', saved));
    this.#profile = saved;
  }

  /** What is stored here, with the tables themselves and the logs that are still kept: what the platform bills. */
  get bytes(): number {
    return this.#storage.sql.databaseSize;
  }

  /** Runs statements that must be stored together. */
  together<T>(change: () => T): T {
    return this.#storage.transactionSync(change);
  }

  /** The JSON texts of what is frozen. */
  get frozen(): Record<Owner, string | undefined> {
    const texts = { system: '', tools: '' };
    if (this.#profile) {
      const rows = this.read('select owner, text from pieces where owner < 0 order by owner, n');
      for (const { owner, text } of rows) texts[owner === OWNERS.system ? 'system' : 'tools'] += String(text);
    }
    return { system: texts.system || undefined, tools: texts.tools || undefined };
  }

  freeze(owner: Owner, text: string | undefined): void {
    this.#forgetHistory();
    this.write('delete from pieces where owner = ?', OWNERS[owner]);
    if (text !== undefined) this.#writePieces(OWNERS[owner], text);
  }

  /**
   * Stores a turn and what it asks, all or nothing. (What is written between two waits is stored as one; a transaction
   * within that, to take it back, costs as much as two rows.)
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

  /** Stores what settles the try of a turn that has gone up. */
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

  /** @returns when the newest row of a turn's log was written, and for how long something may have been unseen until then. */
  lastLogged(turn: number): { at: number; unseenMs: number } | undefined {
    const [row] = this.read('select at, unseen_ms from log where turn = ? order by n desc limit 1', turn);
    return typeof row?.at === 'number' ? { at: row.at, unseenMs: Number(row.unseen_ms ?? 0) } : undefined;
  }

  /** Stores how a turn has ended: what was remembered of the history is not the whole of it any more. */
  endTurn(turn: TurnRow): void {
    recollections.drop(this.#key);
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

  /** By its id as well: the number of a turn that has gone is given to another. */
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

  /** Takes messages from `seq` on out, or those of one turn. */
  deleteMessages(where: string, ...bindings: SqlStorageValue[]): void {
    this.#forgetHistory();
    this.write(
      `delete from pieces where owner in (select seq from messages where text is null and ${where})`,
      ...bindings,
    );
    this.write(`delete from messages where ${where}`, ...bindings);
  }

  /**
   * The history in order, one message at a time.
   *
   * @param range `sent` leaves out refused turns, as what goes up does; `pending` adds what the running turn was asked
   */
  *history(range: Range = {}): Generator<MessageRow> {
    const columns = 'm.seq, m.turn, m.id, m.role, m.created_at, m.text, t.status, t.cost, t.outcome';
    for (const row of this.#select(columns, range) ?? []) yield this.#message(row);
  }

  /** The same by what was said alone: of a long history each further column costs. */
  *said(range: Range = {}): Generator<Said & { status: TurnStatus }> {
    for (const [seq, role, text, status] of this.#select('m.seq, m.role, m.text, t.status', range)?.raw() ?? []) {
      yield {
        role: String(role),
        text: typeof text === 'string' ? text : this.#pieces(Number(seq)),
        status: String(status) as TurnStatus,
      };
    }
  }

  #select(columns: string, range: Range): SqlStorageCursor<Raw> | undefined {
    if (!this.#profile) return undefined;
    const { from = 0, to = TO_THE_END, sent = false, backwards = false, pending = false } = range;
    return this.#storage.sql.exec<Raw>(
      `select ${columns} from messages m join turns t on t.seq = m.turn
       where m.seq >= ? and m.seq <= ? and t.status in ${pending ? SHOWN : COMMITTED}
             ${sent ? "and t.status != 'refused'" : ''}
       order by m.seq ${backwards ? 'desc' : ''}`,
      from,
      to,
    );
  }

  /** @returns where messages of the history stand, without their texts. */
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

  /**
   * Writes events to a turn's log: as few rows as they fit into, and no row begins inside an event but those that the
   * event fills alone.
   *
   * @param n the number of the first row that is written
   * @param first the number of the first event
   * @param frames each event as it is shown, asked for only where they must be divided
   * @param text all of them joined
   * @param short the same shortened, where it can be
   * @param told when it is written, and for how long something may have been unseen
   * @returns the number of the next row
   */
  writeLog(
    turn: number,
    n: number,
    first: number,
    frames: () => readonly string[],
    { text, short }: { text: string; short: string | undefined },
    told: { at: number; unseenMs: number } | undefined,
  ): number {
    let row = n;
    const insert = (begins: number, text: string) => {
      const { at = null, unseenMs = null } = told ?? {};
      this.write(
        'insert into log (turn, n, first, text, at, unseen_ms) values (?, ?, ?, ?, ?, ?)',
        turn,
        row,
        begins,
        text,
        at,
        unseenMs,
      );
      row += 1;
    };
    if (text.length <= PIECE_CHARACTERS) {
      insert(first, short ?? text);
      return row;
    }
    let joined = '';
    let begins = first;
    for (const [index, frame] of frames().entries()) {
      if (joined !== '' && joined.length + frame.length > PIECE_CHARACTERS) {
        insert(begins, joined);
        joined = '';
      }
      if (joined === '') begins = first + index;
      if (frame.length <= PIECE_CHARACTERS) joined += frame;
      else for (const [part, piece] of divide(frame).entries()) insert(part === 0 ? begins : begins + 1, piece);
    }
    if (joined !== '') insert(begins, joined);
    return row;
  }

  /** @returns the row of the log in which an event begins, as its number. */
  logRowOf(turn: number, event: number): number | undefined {
    const [row] = this.read('select n from log where turn = ? and first <= ? order by n desc limit 1', turn, event);
    return row && Number(row.n);
  }

  /**
   * @returns the events of a row of the log as they are shown, or undefined behind the last; also where another turn has
   * the number by now
   */
  logText({ seq, id }: Pick<TurnRow, 'seq' | 'id'>, n: number): string | undefined {
    const [row] = this.read(
      'select l.first, l.text from log l join turns t on t.seq = l.turn where l.turn = ? and l.n = ? and t.id = ?',
      seq,
      n,
      id,
    );
    return row && shown(String(row.text), id, Number(row.first));
  }

  /** @returns the whole log of a turn, as it is shown. */
  logOf({ seq, id }: Pick<TurnRow, 'seq' | 'id'>): { text: string; rows: number } {
    const rows = this.read('select first, text from log where turn = ? order by n', seq);
    return { text: rows.map(({ first, text }) => shown(String(text), id, Number(first))).join(''), rows: rows.length };
  }

  deleteLog(turn: number): void {
    this.write('delete from log where turn = ?', turn);
  }

  /** Takes everything out but the profile: what is deleted must be gone before anyone is told. */
  empty(): void {
    this.#forgetHistory();
    for (const table of ['messages', 'pieces', 'log']) this.write(`delete from ${table}`);
    this.write('delete from turns where settled = 1');
  }

  /** Takes out what belongs to a history that never came to be; how a first turn has failed can still be heard. */
  dropUnborn(): void {
    this.#forgetHistory();
    for (const table of ['messages', 'pieces']) this.write(`delete from ${table}`);
    this.write(`delete from turns where status in ${COMMITTED}`);
  }

  write(statement: string, ...bindings: SqlStorageValue[]): void {
    this.#storage.sql.exec(statement, ...bindings);
  }

  read(query: string, ...bindings: SqlStorageValue[]): Raw[] {
    return this.#storage.sql.exec<Raw>(query, ...bindings).toArray();
  }

  #open(meta: Map<string, string>): void {
    migrate(this.#storage, CONVERSATION_MIGRATIONS, meta);
    const profile = meta.get('profile');
    if (profile !== undefined) this.#profile = readFormat<Profile>('profile', profile);
  }

  #message(row: Raw): MessageRow {
    const seq = Number(row.seq);
    return {
      seq,
      turn: Number(row.turn),
      id: String(row.id),
      role: String(row.role),
      createdAt: Number(row.created_at),
      text: typeof row.text === 'string' ? row.text : this.#pieces(seq),
      status: String(row.status) as TurnStatus,
      cost: Number(row.cost),
      outcome: row.outcome === null ? null : readFormat<Outcome | null>('outcome', String(row.outcome)),
    };
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

/** @returns the bytes of what a caller decides the length of. */
function sizeOf({ title, metadata }: Profile): number {
  return encoder.encode(JSON.stringify([title, metadata])).length;
}

function turnOf(row: Raw): TurnRow {
  const json = <T>(name: FormatName, value: SqlStorageValue | undefined) =>
    typeof value === 'string' ? readFormat<T | null>(name, value) : null;
  return {
    seq: Number(row.seq),
    id: String(row.id),
    requestId: String(row.request_id),
    key: row.key === null ? null : String(row.key),
    hash: String(row.hash),
    status: String(row.status) as TurnStatus,
    route: String(row.route),
    model: String(row.model),
    beganAt: Number(row.began_at),
    endedAt: row.ended_at === null ? null : Number(row.ended_at),
    grant: json<Grant>('grant', row.grant),
    sentAt: row.sent_at === null ? null : Number(row.sent_at),
    coversUntil: row.covers_until === null ? null : Number(row.covers_until),
    outcome: json<Outcome>('outcome', row.outcome),
    settled: row.settled === 1,
    cost: Number(row.cost),
    tokens: row.tokens === null ? null : Number(row.tokens),
    frame: row.frame === null ? null : String(row.frame),
    sentFrom: Number(row.sent_from),
    follows: row.follows === 1,
    events: Number(row.events),
  };
}
