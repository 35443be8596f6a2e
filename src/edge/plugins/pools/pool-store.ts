import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { type SqliteRow, toColumns, toMembers } from '../../durable/columns.ts';
import { createDeferredTableCreator } from '../../durable/schema.ts';
import { SqlTables } from '../../durable/tables.ts';
import { mapPeriods, PERIODS, type Period } from '../../money/budget/windows.ts';
import type { DailyRejectionCount } from '../../money/contracts/account.ts';
import type { AccountLastFailure, AccountLastFailuresQuery } from '../../money/contracts/all-accounts.ts';
import type { ReportedAccountLimits } from './contracts/pool.ts';
import type { ReportedOutcomes } from './failing-upstreams.ts';
import type { AccountLease } from './grant.ts';
import { POOL_TABLES } from './tables.ts';

export interface StoredPoolLease extends AccountLease {
  /** The account's name; null after it was erased and has nothing leased any more. */
  account: string | null;
  /** Whether it was erased and not used since. Then its name is not shown to anybody. */
  isErased: boolean;
  group: string | null;
  /** When the account was last used; milliseconds since 1970. */
  seenAt: number | null;
  /** When a request of it was last refused, and when its newest that failed began; milliseconds since 1970. */
  refusedAt: number | null;
  failedAt: number | null;
  refused: DailyRejectionCount | null;
  outcomes: ReportedOutcomes | null;
  limits: ReportedAccountLimits | null;
  /** The last change of its sums that it has reported; -1 if it must report everything again. */
  told: number;
  /** When its visitor has ended; milliseconds since 1970. Then its sums are in the row of all such visitors. */
  joinedAt: number | null;
}

/** What lists show of a lease. */
export interface LeaseListRow
  extends Pick<StoredPoolLease, 'id' | 'account' | 'isErased' | 'group' | 'seenAt' | 'limits' | 'refused'> {
  /** The spending in each of the requested windows. */
  spent: Record<Period, Nanodollars>;
}

export class PoolStore extends SqlTables {
  /** @param abort resets the object after a failed write; see `SqlTables` */
  constructor(storage: DurableObjectStorage, abort?: (thrown: unknown) => void) {
    super(storage, createDeferredTableCreator(storage, POOL_TABLES), abort);
  }

  /** @returns every lease, one after the other: all of them together would be too much to keep. */
  *iterateLeases(): Generator<StoredPoolLease> {
    for (const row of this.iterateRows<SqliteRow>('select * from leases')) yield toPoolLease(row);
  }

  /**
   * Reads the fields of leases that lists show. SQLite extracts the spending from the grants, because parsing those of ten
   * thousand leases takes several times as long.
   *
   * @param windows the ids of the windows whose sums are read
   * @param names reads only these accounts. Without it, all leases are read
   */
  *iterateLeaseListRows(windows: Readonly<Record<Period, string>>, names?: readonly string[]): Generator<LeaseListRow> {
    const rows = this.iterateRows<SqliteRow>(
      `select id, account, pool_group, seen_at, limits, refused, erased,
         ${PERIODS.map((period, at) => `coalesce(windows ->> ?${at + 2}, 0) as ${period}`).join(', ')}
       from leases${names ? ' where account in (select value from json_each(?1))' : ' where ?1 is null'}`,
      names ? JSON.stringify(names) : null,
      ...PERIODS.map((period) => `$.windows."${windows[period]}".spent`),
    );
    for (const { id, account, pool_group, seen_at, limits, refused, erased, ...spent } of rows) {
      yield {
        id: String(id),
        account: account as string | null,
        isErased: erased === 1,
        group: pool_group as string | null,
        seenAt: seen_at as number | null,
        limits: limits === null ? null : (JSON.parse(String(limits)) as ReportedAccountLimits),
        refused: refused === null ? null : (JSON.parse(String(refused)) as DailyRejectionCount),
        spent: mapPeriods(PERIODS, (period) => Number(spent[period])),
      };
    }
  }

  /** @returns the accounts that have a name of which a request was refused, or failed, since a time; the newest first. */
  findAccountsByLastFailure({ outcome, from, after, limit }: AccountLastFailuresQuery): AccountLastFailure[] {
    const column = `${outcome}_at`;
    return this.readAllRows<{ account: string; at: number }>(
      `select account, ${column} as at from leases
       where ${column} >= ?1 and account is not null and erased = 0
       and (?2 is null or ${column} < ?2 or (${column} = ?2 and account > ?3))
       order by at desc, account limit ?4`,
      from,
      after?.at ?? null,
      after?.account ?? null,
      limit,
    );
  }

  /** @returns when the newest failed request of any account began, in milliseconds since 1970; null if none is known */
  findLastFailureTime(): number | null {
    return this.queryNumber('select max(failed_at) from leases where failed_at is not null') ?? null;
  }

  /** @returns how many requests of all accounts were refused on a day, by the limit's owner and the reason; the most frequent first */
  countRejectionsOfDay(day: number): { limited_by: string; reason: string; requests: number }[] {
    return this.readAllRows<{ cause: string; requests: number }>(
      `select causes.key as cause, sum(causes.value) as requests from leases, json_each(leases.refused, '$.by') as causes
       where refused is not null and refused ->> '$.day' = ? group by 1 order by 2 desc, 1`,
      day,
    ).map(({ cause, requests }) => {
      const [limited_by = '', reason = ''] = cause.split(' ');
      return { limited_by, reason, requests };
    });
  }

  /** @returns how many requests the limits of each of these groups have refused on a day, by the names of those that have */
  countRejectionsByGroup(day: number, groups: readonly string[]): Record<string, number> {
    const rows = this.readAllRows<{ name: string; count: number }>(
      `select causes.key as name, sum(causes.value) as count from leases, json_each(leases.refused, '$.groups') as causes
       where refused is not null and refused ->> '$.day' = ?1 and causes.key in (select value from json_each(?2)) group by 1`,
      day,
      JSON.stringify(groups),
    );
    return Object.fromEntries(rows.map(({ name, count }) => [name, count]));
  }

  /** @returns a lease by its id; undefined if there is none. */
  findLease(id: string): StoredPoolLease | undefined {
    const [row] = this.readAllRows('select * from leases where id = ?', id);
    return row && toPoolLease(row);
  }

  /**
   * Deletes leases that have joined the row of all visitors before a time.
   *
   * @returns when the first of the others has joined it; milliseconds since 1970
   */
  deleteMergedLeases(until: number): number | undefined {
    this.runWriteStatement('delete from leases where joined_at <= ?', until);
    return this.queryNumber('select min(joined_at) from leases where joined_at is not null');
  }

  /** Writes a lease as it is now. */
  writeLease({ isErased, group, windows, batched, limits, refused, outcomes, ...same }: StoredPoolLease): void {
    const row: SqliteRow = {
      ...toColumns(same),
      erased: Number(isErased),
      pool_group: group,
      windows: JSON.stringify({ windows, batched }),
      limits: limits && JSON.stringify(limits),
      refused: refused && JSON.stringify(refused),
      outcomes: outcomes && JSON.stringify(outcomes),
    };
    // A change of the name is seldom, and without it the index by name costs no row.
    const { id, account, ...others } = row;
    const isKnown = 'id = ? and account is ?';
    if (this.updateRows('leases', others, isKnown, id ?? null, account ?? null) > 0) return;
    this.insertRow('leases', row, 'insert or replace');
  }
}

function toPoolLease({ erased, pool_group, windows, limits, refused, outcomes, ...same }: SqliteRow): StoredPoolLease {
  return {
    ...toMembers<StoredPoolLease>(same),
    isErased: erased === 1,
    group: pool_group as string | null,
    open: same.open === 1,
    ...(JSON.parse(String(windows)) as Pick<StoredPoolLease, 'windows' | 'batched'>),
    limits: limits === null ? null : (JSON.parse(String(limits)) as ReportedAccountLimits),
    refused: refused === null ? null : (JSON.parse(String(refused)) as DailyRejectionCount),
    outcomes: outcomes === null ? null : (JSON.parse(String(outcomes)) as ReportedOutcomes),
  };
}
