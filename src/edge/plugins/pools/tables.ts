/** The tables of a pool. */

import { SUM_COLUMNS } from '../../claude/pricing/usage-sums.ts';

/** Replaces a name that was erased. */
export const ERASED = '(erased)';
/** Replaces the name of each visitor in lists and sums. */
export const VISITORS = '(visitors)';
/** The lease id for the sums of ended visitors. */
export const VISITORS_LEASE = 'visitors';
/** The lease id for spending on another deployment, according to a backup. */
export const RESTORED_LEASE = 'restored';

/**
 * A lease is one row, rewritten by each call that is newer. An erased account's name stays until it has nothing leased any
 * more, only to be asked by; then `account` is null. When a visitor has ended, the lease's sums move to the row of all such
 * visitors, and it is deleted soon after `joined_at`. `told` is the change up to which an account has reported its sums.
 *
 * `used` has the sums of a day by model, token, user or tag, and by the group that has paid; of an erased account by model alone.
 */
export const POOL_TABLES = `
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
    refused_at integer,
    failed_at integer,
    refused text,
    outcomes text,
    limits text,
    told integer not null default -1,
    joined_at integer
  ) strict, without rowid;
  create index leases_by_account on leases (account) where account is not null;
  create index leases_by_refusal on leases (refused_at desc, account) where refused_at is not null;
  create index leases_by_failure on leases (failed_at desc, account) where failed_at is not null;
  create index leases_by_refused_day on leases (refused ->> '$.day') where refused is not null;
  create index joined on leases (joined_at) where joined_at is not null;
  create table used (
    dimension text not null,
    day integer not null,
    lease text not null,
    value text not null,
    pool_group text not null,
    ${SUM_COLUMNS.map((column) => `${column} integer not null default 0`).join(', ')},
    primary key (dimension, day, lease, value, pool_group)
  ) strict, without rowid;`;
