/** The tables of a conversation, and how a row of its turns is read. */

import type { StoredGrant } from '../../accounts/admission/settle.ts';
import type { Migration } from '../../durable/migrations.ts';
import { type FormatName, readFormat } from '../../durable/stored-format.ts';
import type { RequestOutcome } from '../../upstream/relay.ts';
import type { MessageRow, TurnRow, TurnStatus } from './rows.ts';

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

/** Turns that are part of the history. */
export const COMMITTED = "('complete', 'interrupted', 'stopped', 'refused', 'empty')";

/** The same with the turn that runs. */
export const SHOWN = "('complete', 'interrupted', 'stopped', 'refused', 'empty', 'running')";

/** A message before its turn has come to anything. */
export type NewMessage = Pick<MessageRow, 'seq' | 'turn' | 'id' | 'role' | 'createdAt' | 'text'>;

/** Some of the messages, by their numbers. */
export interface Range {
  from?: number;
  to?: number;
  backwards?: boolean;
  pending?: boolean;
  sent?: boolean;
}

/** What is open stands among the newest turns: to look for it does not take longer in a long conversation. */
export const RECENT = 'seq > (select max(seq) - 200 from turns)';

/** A row as SQLite gives it. */
export type RawRow = Record<string, SqlStorageValue>;
/** @returns a turn as its row has it. */
export function turnOf(row: RawRow): TurnRow {
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
    grant: json<StoredGrant>('grant', row.grant),
    sentAt: row.sent_at === null ? null : Number(row.sent_at),
    coversUntil: row.covers_until === null ? null : Number(row.covers_until),
    outcome: json<RequestOutcome>('outcome', row.outcome),
    settled: row.settled === 1,
    cost: Number(row.cost),
    tokens: row.tokens === null ? null : Number(row.tokens),
    frame: row.frame === null ? null : String(row.frame),
    sentFrom: Number(row.sent_from),
    follows: row.follows === 1,
    events: Number(row.events),
  };
}

/** @returns a message as its row has it; a divided text is asked for by the message's number. */
export function messageRowOf(row: RawRow, divided: (seq: number) => string): MessageRow {
  const seq = Number(row.seq);
  return {
    seq,
    turn: Number(row.turn),
    id: String(row.id),
    role: String(row.role),
    createdAt: Number(row.created_at),
    text: typeof row.text === 'string' ? row.text : divided(seq),
    status: String(row.status) as TurnStatus,
    cost: Number(row.cost),
    outcome: row.outcome === null ? null : readFormat<RequestOutcome | null>('outcome', String(row.outcome)),
  };
}
