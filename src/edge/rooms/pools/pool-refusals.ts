import { pageOfRows } from '../../kit/http/page.ts';
import type { Page } from '../../kit/objects/page.ts';
import { Rows } from '../../kit/objects/rows.ts';
import type { RefusalOfAccount, RefusalsQuery } from '../../money/account/all-accounts.ts';
import type { RefusedRequest } from '../../money/contracts/admission.ts';
import type { RefusalsReport } from './contracts/pool.ts';
import { ERASED } from './tables.ts';

/** How many refusals are kept of all accounts, and of each one: nobody can push out those of everybody else. */
const MOST_OF_ALL = 10_000;
const MOST_OF_ONE_ACCOUNT = 1_000;

/** Keeps the last refusals of all accounts: a row for each report. */
export class PoolRefusals extends Rows {
  /** How many are kept, by lease; undefined if that must be counted. */
  #counts: Map<string, number> | undefined;

  /** Takes what an account has refused since it last told. The oldest are let go. */
  put(lease: string, { since, until, rows }: RefusalsReport): void {
    const fresh = rows.filter(({ at }) => at > since);
    const [first] = fresh;
    if (!first) return;
    const counts = this.#count();
    // If a write fails, they are counted again.
    this.#counts = undefined;
    const row = { at: until, lease, first: first.at, count: fresh.length, refused: JSON.stringify(fresh) };
    this.tables.insert('refusals', row, 'insert or replace');
    addTo(counts, lease, fresh.length);
    while ((counts.get(lease) ?? 0) > MOST_OF_ONE_ACCOUNT && this.#dropOldest(counts, lease));
    let all = 0;
    for (const count of counts.values()) all += count;
    for (let dropped = 1; all > MOST_OF_ALL && dropped > 0; all -= dropped) dropped = this.#dropOldest(counts);
    this.#counts = counts;
  }

  /** Deletes what a lease has told. */
  forget(lease: string): void {
    if (!this.tables.has('refusals where lease = ?', lease)) return;
    this.#counts = undefined;
    this.tables.write('delete from refusals where lease = ?', lease);
  }

  /** Deletes what was told up to a time. @returns the time of the first of the others; milliseconds since 1970 */
  prune(until: number): number | undefined {
    if (this.tables.write('delete from refusals where at <= ?', until) > 0) this.#counts = undefined;
    return this.tables.figure('select min(at) from refusals');
  }

  /** @returns a page of them, newest first. @param after leaves out what is older than this time */
  page({ from, to, token, ...page }: RefusalsQuery, after: number): Page<RefusalOfAccount> {
    const first = Math.max(from, after + 1);
    const rows = this.tables.read<{ refused: string; account: string }>(
      `select told.refused, iif(erased = 0, coalesce(account, '${ERASED}'), '${ERASED}') as account
       from refusals as told join leases on leases.id = told.lease where told.at >= ? and first < ?`,
      first,
      to,
    );
    const found = rows.flatMap(({ refused, account }) =>
      (JSON.parse(refused) as RefusedRequest[])
        .filter((one) => one.at >= first && one.at < to && (token === undefined || one.token === token))
        .map((one) => ({ account, ...one })),
    );
    found.sort((left, right) => right.at - left.at || (left.id < right.id ? 1 : -1));
    return pageOfRows(found, page, ({ id }) => id, 'end');
  }

  #count(): Map<string, number> {
    if (this.#counts) return this.#counts;
    const rows = this.tables.read<{ lease: string; count: number }>(
      'select lease, sum(count) as count from refusals group by lease',
    );
    return new Map(rows.map(({ lease, count }) => [lease, count]));
  }

  /** Deletes the oldest row, of one lease or of all. @returns how many refusals it had; 0 if there is none */
  #dropOldest(counts: Map<string, number>, lease?: string): number {
    const [oldest] = this.tables.read<{ at: number; lease: string; count: number }>(
      'select at, lease, count from refusals where ?1 is null or lease = ?1 order by at limit 1',
      lease ?? null,
    );
    if (!oldest) return 0;
    this.tables.write('delete from refusals where at = ? and lease = ?', oldest.at, oldest.lease);
    addTo(counts, oldest.lease, -oldest.count);
    return oldest.count;
  }
}

function addTo(counts: Map<string, number>, lease: string, count: number): void {
  const sum = (counts.get(lease) ?? 0) + count;
  if (sum > 0) counts.set(lease, sum);
  else counts.delete(lease);
}
