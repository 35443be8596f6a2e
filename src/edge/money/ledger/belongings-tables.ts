/** The table of what an account has made at upstreams: files, containers, threads. */

export const BELONGINGS_SQL = `
  create table belongings (
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
  ) strict, without rowid;`;
