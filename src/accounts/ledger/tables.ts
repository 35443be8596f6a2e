/** The tables of an account, and the forms of their rows. */

import { DAY_MS } from '../../async/durations.ts';
import type { Tokens } from '../../durable/contracts/settlement.ts';
import type { Migration } from '../../durable/migrations.ts';
import type { Nanodollars } from '../../pricing/cost.ts';
import { SUM_COLUMNS, USED_COLUMNS } from '../../pricing/usage-sums.ts';
import { VERSIONS_SQL } from '../../versions/version-tables.ts';
import { BELONGINGS_SQL } from './belongings-tables.ts';

/** What is known about a request when it is settled. */
export interface Closing {
  status: string;
  stage: string | null;
  cost: Nanodollars;
  tokens: Tokens;
  estimated: boolean;
  overHold: boolean;
  late: boolean;
  answeredBy: string | null;
  stopReason: string | null;
  errorType: string | null;
  upstreamRequestId: string | null;
  /** If there are several upstreams: the name of the one that answered. */
  upstream: string | null;
  ttftMs: number | null;
  ms: number | null;
  /** The calls of tools whose results it has taken up, as JSON. */
  tools: string | null;
  at: number;
}

/** Unknown model names that nobody paid for share a rollup. Otherwise callers could make any number of rows. */
export const ROLLUP_MODEL = "case when unpriced = 1 and cost = 0 then '(unknown)' else model end";

/** Replaces a model's name in a sum that is left after an erasure. */
export const ERASED_MODEL = '(erased)';

/** Replaces a model's name in a sum that comes from a backup. */
export const IMPORTED_MODEL = '(imported)';

/** The columns that came after the first list of conversations. */
const STORED_SQL = 'alter table conversations add column bytes integer not null default 0;';

/** Which group's pool pays for a request too, and the rollups of what groups pay for: those of all have it as well. */
const GROUPS_SQL = `
  alter table ledger add column pool_group text;
  create table group_rollups (
    pool_group text not null,
    day integer not null,
    model text not null,
    ${SUM_COLUMNS.map((column) => `${column} integer not null`).join(', ')},
    primary key (pool_group, day, model)
  ) strict, without rowid;`;

/** What came with limits in all: credit beside them, and the limits of single tokens with what these have spent. */
const TOTALS_SQL = `
  create table credits (
    id text primary key,
    key text,
    amount integer not null,
    spent integer not null,
    note text,
    created_at integer not null,
    expires_at integer
  ) strict, without rowid;
  alter table tokens add column limits text;
  alter table tokens add column spent integer not null default 0;`;

/**
 * What came with the sums by token, user and tag. Rows that were summed up before are added by their token; a number says
 * by which change a sum has become what it is.
 */
const DIMENSIONS_SQL = `
  alter table ledger add column tags text;
  alter table ledger add column user text;
  alter table rollups add column seq integer not null default 0;
  create table dimensions (
    day integer not null,
    dimension text not null,
    value text not null,
    seq integer not null,
    ${SUM_COLUMNS.map((column) => `${column} integer not null`).join(', ')},
    primary key (day, dimension, value)
  ) strict, without rowid;
  insert into dimensions (day, dimension, value, seq, ${SUM_COLUMNS.join(', ')})
    select at / ${DAY_MS}, 'token', token, 0, count(*), ${USED_COLUMNS.map((column) => `sum(${column})`).join(', ')}
    from ledger, meta where meta.key = 'fold' and id <= json_extract(meta.value, '$.marker')
      and status != 'held' and token is not null group by 1, 3;`;

/** The sums by token, user and tag of what groups pay for: those of all have it as well. */
const GROUP_DIMENSIONS_SQL = `
  create table group_dimensions (
    day integer not null,
    dimension text not null,
    value text not null,
    pool_group text not null,
    ${SUM_COLUMNS.map((column) => `${column} integer not null`).join(', ')},
    primary key (day, dimension, value, pool_group)
  ) strict, without rowid;`;

/** Refused requests: of a second in one row, as JSON. */
const REFUSALS_SQL = 'create table refusals (at integer primary key, refused text not null) strict;';

/** What came with batches: the list of them, and in the ledger whose rows theirs are, with their items by outcome as JSON. */
const BATCHES_SQL = `
  create table batches (
    id text primary key,
    created_at integer not null,
    key text,
    digest text not null,
    report text
  ) strict, without rowid;
  alter table ledger add column batch text;
  alter table ledger add column outcomes text;`;

/** The classifications by batch, which are erased with the account. */
const CLASSIFICATIONS_SQL =
  'create table classifications (id text primary key, created_at integer not null) strict, without rowid;';

/** Of a subagent's conversation: that whose run has called it, and the call. */
const SUBAGENTS_SQL = `
  alter table conversations add column parent text;
  alter table conversations add column tool_use_id text;
  create index conversations_by_parent on conversations (parent, created_at, id) where parent is not null;`;

export const LEDGER_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    sql: `
      create table ledger (
        id text primary key,
        at integer not null,
        route text not null,
        model text not null,
        unpriced integer not null,
        conversation text,
        prefix text,
        token text,
        status text not null,
        stage text,
        max_tokens integer,
        hold integer not null,
        held_input integer not null,
        held_output integer not null,
        deadline integer not null,
        cost integer not null default 0,
        input_tokens integer not null default 0,
        output_tokens integer not null default 0,
        cache_read_tokens integer not null default 0,
        cache_write_5m_tokens integer not null default 0,
        cache_write_1h_tokens integer not null default 0,
        thinking_tokens integer not null default 0,
        web_searches integer not null default 0,
        estimated integer not null default 0,
        over_hold integer not null default 0,
        late integer not null default 0,
        answered_by text,
        stop_reason text,
        error_type text,
        upstream_request_id text,
        ttft_ms real,
        ms real,
        settled_at integer,
        requests_full_at real not null,
        input_full_at real not null,
        output_full_at real not null
      ) strict, without rowid;
      create table rollups (
        day integer not null,
        model text not null,
        ${SUM_COLUMNS.map((column) => `${column} integer not null`).join(', ')},
        primary key (day, model)
      ) strict, without rowid;
      create table tokens (
        jti text primary key,
        label text,
        scopes text,
        minted_at integer,
        first_seen_at integer,
        expires_at integer,
        revoked_at integer
      ) strict, without rowid;`,
  },
  {
    version: 2,
    sql: `
      create table conversations (
        id text primary key,
        version integer not null,
        created_at integer not null,
        updated_at integer not null,
        title text,
        turns integer not null,
        messages integer not null,
        cost integer not null
      ) strict, without rowid;`,
  },
  { version: 3, sql: VERSIONS_SQL },
  { version: 4, sql: STORED_SQL },
  { version: 5, sql: TOTALS_SQL },
  { version: 6, sql: DIMENSIONS_SQL },
  { version: 7, sql: REFUSALS_SQL },
  { version: 8, sql: GROUPS_SQL },
  { version: 9, sql: 'alter table ledger add column upstream text;' },
  { version: 10, sql: GROUP_DIMENSIONS_SQL },
  { version: 11, sql: BELONGINGS_SQL },
  { version: 12, sql: BATCHES_SQL },
  { version: 13, sql: CLASSIFICATIONS_SQL },
  { version: 14, sql: 'alter table ledger add column tools text;' },
  { version: 15, sql: 'alter table ledger add column agent text;' },
  { version: 16, sql: SUBAGENTS_SQL },
  // Whether calls of a conversation wait for approval.
  { version: 17, sql: 'alter table conversations add column paused text;' },
];
