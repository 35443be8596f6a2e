/** The tables of a pool. */

import type { Migration } from '../durable/migrations.ts';

/** The sums that accounts report, in the order of a report's numbers. */
export const SUM_COLUMNS = [
  'requests',
  'cost',
  'input_tokens',
  'output_tokens',
  'cache_read_tokens',
  'cache_write_5m_tokens',
  'cache_write_1h_tokens',
  'thinking_tokens',
  'web_searches',
] as const;

/** In place of a name that was erased. */
export const ERASED = '(erased)';

/**
 * A lease is one row, rewritten by each call that is newer. An erased account's name stays until it has nothing leased any
 * more, only to be asked by; then `account` is null. `lease` is empty for the sums of all that were erased.
 */
export const POOL_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    sql: `
      create table leases (
        id text primary key,
        account text,
        erased integer not null,
        pool_group text,
        incarnation integer not null,
        seq integer not null,
        told_at integer not null,
        open integer not null,
        windows text not null,
        seen_at integer,
        limits text,
        epoch integer not null
      ) strict, without rowid;
      create table sums (
        lease text not null,
        day integer not null,
        pool_group text not null,
        model text not null,
        ${SUM_COLUMNS.map((column) => `${column} integer not null`).join(', ')},
        primary key (lease, day, pool_group, model)
      ) strict, without rowid;`,
  },
];
