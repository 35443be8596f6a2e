import { createTotalsTriggers } from '../../durable/totals.ts';

/**
 * The rows of what is stored in versions: names, each with the version that it points to, and lists of hashes, separated by
 * commas: the pinned versions beside it, and the withdrawn ones; versions, the bytes of each in pieces below the platform's
 * limit for a row, and who holds which version.
 *
 * `told` and `state` record what KV contains: a version is `new` until its value is stored there, and `doomed` until it is
 * deleted there.
 */
export const VERSIONS_SQL = `
  create table names (
    kind text not null,
    name text not null,
    hash text,
    at integer not null,
    told integer not null,
    pinned text not null default '',
    withdrawn text not null default '',
    primary key (kind, name)
  ) strict, without rowid;
  create index unpublished_names on names (kind, name) where told = 0;
  ${createTotalsTriggers('names', { name: (row) => `'names:' || ${row}.kind` })}
  create table versions (
    kind text not null,
    name text not null,
    hash text not null,
    at integer not null,
    bytes integer not null,
    description text,
    state text not null,
    primary key (kind, name, hash)
  ) strict, without rowid;
  create index versions_by_time on versions (kind, name, at, hash);
  create index unpublished_versions on versions (kind, name, hash) where state != 'told';
  ${createTotalsTriggers('versions', { bytes: (row) => `${row}.bytes` })}
  create table version_pieces (
    kind text not null,
    name text not null,
    hash text not null,
    n integer not null,
    bytes blob not null,
    primary key (kind, name, hash, n)
  ) strict, without rowid;
  create table version_holds (
    kind text not null,
    name text not null,
    hash text not null,
    holder text not null,
    primary key (kind, name, hash, holder)
  ) strict, without rowid;`;
