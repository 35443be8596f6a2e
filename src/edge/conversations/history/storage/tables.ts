export const CONVERSATION_TABLES = `
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
    sent_at integer,
    ended_at integer,
    grant text,
    outcome text,
    settled integer not null default 0,
    cost integer not null default 0,
    tokens integer,
    frame text,
    sent_from integer not null,
    covers_until integer,
    follows integer not null,
    events integer not null default 0,
    run integer,
    background integer,
    notes text
  ) strict;
  create index turns_by_key on turns (key) where key is not null;
  create index failed_turns on turns (status) where status = 'failed';
  create table messages (
    seq integer primary key,
    turn integer not null,
    id text not null,
    role text not null,
    created_at integer not null,
    characters integer not null,
    origin text,
    shown integer,
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
    at integer,
    unseen_ms integer,
    text text not null
  ) strict;`;

/** The statuses of turns that are part of the history. */
export const COMMITTED = "('complete', 'interrupted', 'stopped', 'refused', 'empty')";

/** The row of an answer of which nothing is left. It is shown, but it is not sent: the API does not accept it. */
export const NO_ANSWER = '{"role":"assistant","content":[]}';

/** The same statuses, and that of the running turn. */
export const SHOWN = "('complete', 'interrupted', 'stopped', 'refused', 'empty', 'running')";

/** Unsettled turns are always among the newest. With this condition, finding them is as quick in a long conversation. */
export const RECENT = 'seq > (select max(seq) - 200 from turns)';

/** Whether a turn is a step of a run that is not settled yet. */
export const OF_UNSETTLED_RUN =
  'exists (select 1 from turns r where r.seq = turns.run and r.seq != turns.seq and r.settled = 0)';
