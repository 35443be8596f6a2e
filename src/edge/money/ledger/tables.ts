/** The tables of an account, and the forms of their rows. */
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { FIRST_EVENT_BOUNDS_MS, SUM_COLUMNS, WAIT_BOUNDS_MS } from '../../claude/pricing/usage-sums.ts';
import { createTotalsTriggers, TOTALS_SQL } from '../../durable/totals.ts';
import type { TokenUsage } from '../contracts/settlement.ts';
import { VERSIONS_SQL } from '../versions/version-tables.ts';
import { TOKEN_LOCATIONS_SQL } from './token-locations.ts';

/** The table of what an account has made at upstreams: files, containers, threads. */

const OWNERSHIP_SQL = `
  create table owned_resources (
    id text primary key,
    kind text not null,
    upstream text not null,
    state text not null,
    bytes integer not null,
    is_exact integer not null default 1,
    created_at integer not null,
    due_at integer,
    tries integer not null default 0,
    expires_at integer,
    description text
  ) strict, without rowid;
  create index owned_by_time on owned_resources (created_at, id);
  create index owned_due on owned_resources (due_at) where due_at is not null;
  create index owned_expiring on owned_resources (expires_at) where expires_at is not null and state = 'kept';
  ${createTotalsTriggers('owned_resources', { bytes: (row) => `iif(${row}.state = 'gone', 0, ${row}.bytes)` })}`;

/** The facts about a request when it is settled. */
export interface SettledRequestFields {
  status: string;
  stage: string | null;
  cost: Nanodollars;
  tokens: TokenUsage;
  /** The amount that caching saved; negative if it cost more. */
  saved: Nanodollars;
  estimated: boolean;
  overHold: boolean;
  late: boolean;
  answeredBy: string | null;
  stopReason: string | null;
  errorType: string | null;
  errorMessage: string | null;
  upstreamRequestId: string | null;
  /** If there are several upstreams: the name of the one that answered. */
  upstream: string | null;
  /** The names of the upstreams that failed before, as a JSON list. */
  failedUpstreams: string | null;
  ttftMs: number | null;
  /** Milliseconds before it was sent, while it was admitted. */
  waitedMs: number | null;
  ms: number | null;
  /** Of a stream: milliseconds to its first event; and from that to its end, if it came to it. */
  firstEventMs: number | null;
  afterFirstMs: number | null;
  /** The calls of tools whose results it has taken up, as JSON. */
  tools: string | null;
  at: number;
}

/** Unknown model names without any cost share a rollup. Otherwise callers could create any number of rows. */
export const ROLLUP_MODEL = "case when unpriced = 1 and cost = 0 then '(unknown)' else model end";

/** Replaces a model's name in a sum that is left after an erasure. */
export const ERASED_MODEL = '(erased)';

/** Replaces a model's name in a sum that comes from a backup. */
export const IMPORTED_MODEL = '(imported)';

/** The columns of a table of sums. */
const SUMS = SUM_COLUMNS.map((column) => `${column} integer not null default 0`).join(', ');

/** How a request went, made from its row whenever that is read, so that the row can be summed up as rows of sums are. */
const COURSE = Object.entries({
  failed: 'iif(error_type is null, 0, 1)',
  timed: 'iif(first_event_ms is null, 0, 1)',
  first_ms: 'coalesce(first_event_ms, 0)',
  streamed_tokens: 'iif(after_first_ms is null, 0, output_tokens)',
  streamed_ms: 'coalesce(after_first_ms, 0)',
  ...Object.fromEntries(FIRST_EVENT_BOUNDS_MS.map((ms) => [`within_${ms}`, `iif(first_event_ms <= ${ms}, 1, 0)`])),
  waited: 'iif(waited_ms is null, 0, 1)',
  wait_ms: 'coalesce(waited_ms, 0)',
  ...Object.fromEntries(WAIT_BOUNDS_MS.map((ms) => [`waited_within_${ms}`, `iif(waited_ms <= ${ms}, 1, 0)`])),
})
  .map(([name, expression]) => `${name} integer as (${expression}) virtual`)
  .join(', ');

/**
 * `group_rollups` and `group_dimensions` have what groups pay for, which is also in the sums of all. A change of `rollups` or
 * `dimensions` has a number, `seq`. A row of `refusals` has the rejected requests of one second, as JSON.
 */
/** Whether a token is for operators. */
export const IS_OPERATOR_TOKEN = "' ' || scopes glob '* admin*'";

export const LEDGER_TABLES = `
  ${TOTALS_SQL}
  create table ledger (
    id text primary key,
    at integer not null,
    route text not null,
    model text not null,
    unpriced integer not null,
    conversation text,
    dimensions text,
    token text,
    pool_group text,
    location text,
    status text not null,
    stage text,
    max_tokens integer,
    lowered_by text,
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
    saved integer not null default 0,
    estimated integer not null default 0,
    over_hold integer not null default 0,
    late integer not null default 0,
    answered_by text,
    stop_reason text,
    error_type text,
    error_message text,
    upstream text,
    failed_upstreams text,
    upstream_request_id text,
    tools text,
    grant text,
    ttft_ms real,
    waited_ms integer,
    ms real,
    first_event_ms integer,
    after_first_ms integer,
    settled_at integer,
    requests_full_at real not null,
    input_full_at real not null,
    output_full_at real not null,
    ${COURSE}
  ) strict, without rowid;
  create index failures on ledger (id) where error_type is not null;
  create table rollups (
    day integer not null,
    model text not null,
    seq integer not null,
    ${SUMS},
    primary key (day, model)
  ) strict, without rowid;
  create table group_rollups (
    pool_group text not null,
    day integer not null,
    model text not null,
    ${SUMS},
    primary key (pool_group, day, model)
  ) strict, without rowid;
  create table dimensions (
    day integer not null,
    dimension text not null,
    value text not null,
    seq integer not null,
    ${SUMS},
    primary key (day, dimension, value)
  ) strict, without rowid;
  create table group_dimensions (
    day integer not null,
    dimension text not null,
    value text not null,
    pool_group text not null,
    ${SUMS},
    primary key (day, dimension, value, pool_group)
  ) strict, without rowid;
  create table refusals (at integer primary key, refused text not null) strict;
  create table tokens (
    jti text primary key,
    label text,
    scopes text,
    minted_at integer,
    first_seen_at integer,
    last_seen_at integer,
    countries text,
    expires_at integer,
    revoked_at integer,
    limits text,
    spent integer not null default 0,
    known_since integer not null generated always as (coalesce(minted_at, first_seen_at, revoked_at, 0)) virtual
  ) strict, without rowid;
  create index tokens_by_time on tokens (known_since, jti);
  create index operator_tokens on tokens (known_since, jti) where ${IS_OPERATOR_TOKEN};
  create index limited_tokens on tokens (jti) where limits is not null;
  create index expiring_tokens on tokens (expires_at) where expires_at is not null;
  create table credits (
    id text primary key,
    key text,
    amount integer not null,
    spent integer not null,
    note text,
    created_at integer not null,
    expires_at integer
  ) strict, without rowid;
  create table conversations (
    id text primary key,
    version integer not null,
    created_at integer not null,
    updated_at integer not null,
    title text,
    turns integer not null,
    messages integer not null,
    cost integer not null,
    bytes integer not null default 0,
    parent text,
    tool_use_id text,
    paused text
  ) strict, without rowid;
  create index conversations_by_time on conversations (created_at, id) where parent is null;
  create index conversations_by_parent on conversations (parent, created_at, id) where parent is not null;
  ${createTotalsTriggers('conversations', { bytes: (row) => `${row}.bytes` })}
  ${TOKEN_LOCATIONS_SQL}
  ${VERSIONS_SQL}
  ${OWNERSHIP_SQL}`;
