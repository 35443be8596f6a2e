import { migrate } from '../durable/migrations.ts';
import { readFormat, writeFormat } from '../durable/stored-format.ts';
import { Tables } from '../durable/tables.ts';
import type { PoolLimits } from '../settings/limits.schema.ts';
import type { KnownLease } from './grant.ts';
import { POOL_MIGRATIONS } from './tables.ts';

/** A lease with its owner. */
export interface PoolLease extends KnownLease {
  /** The account's name; null after it was erased and has nothing leased any more. */
  account: string | null;
  /** Whether it was erased and not used since. Then its name is not shown to anybody. */
  isErased: boolean;
  group: string | null;
  /** When the account was last used; milliseconds since 1970. */
  seenAt: number | null;
  /** The account's own limits. */
  limits: PoolLimits | null;
  /** The number of the last handover that was taken. */
  epoch: number;
  /** The change up to which it has reported what it has spent; -1 if it must report everything again. */
  told: number;
  /** When its erased account gave it up; milliseconds since 1970. Then its sums are counted for nobody. */
  droppedAt: number | null;
}

type LeaseRow = {
  id: string;
  account: string | null;
  erased: number;
  pool_group: string | null;
  incarnation: number;
  seq: number;
  told_at: number;
  open: number;
  windows: string;
  seen_at: number | null;
  limits: string | null;
  epoch: number;
  told: number;
  dropped_at: number | null;
};

/** The rows of a pool. */
export class PoolStore extends Tables {
  constructor(storage: DurableObjectStorage) {
    super(storage);
    migrate(storage, POOL_MIGRATIONS);
  }

  /** @returns every lease, one after the other: all of them together would be too much to keep. */
  *leases(): Generator<PoolLease> {
    for (const row of this.select<LeaseRow>('select * from leases')) yield leaseOfRow(row);
  }

  /** @returns a lease by its id; undefined if there is none. */
  lease(id: string): PoolLease | undefined {
    const [row] = this.read<LeaseRow>('select * from leases where id = ?', id);
    return row && leaseOfRow(row);
  }

  /**
   * Deletes leases that were given up before a time.
   *
   * @returns when the first of the others was given up; milliseconds since 1970
   */
  forgetDropped(until: number): number | undefined {
    this.write('delete from leases where dropped_at <= ?', until);
    return this.figure('select min(dropped_at) from leases where dropped_at is not null');
  }

  /** Writes a lease as it is now. */
  put(lease: PoolLease): void {
    const { id, account, incarnation, seq, epoch, told } = lease;
    const row: LeaseRow = {
      ...{ id, account, incarnation, seq, epoch, told },
      erased: Number(lease.isErased),
      pool_group: lease.group,
      told_at: lease.toldAt,
      open: Number(lease.open),
      windows: writeFormat('grants', { windows: lease.windows, batched: lease.batched }),
      seen_at: lease.seenAt,
      limits: lease.limits && JSON.stringify(lease.limits),
      dropped_at: lease.droppedAt,
    };
    this.insert('leases', row, 'insert or replace');
  }
}

function leaseOfRow({
  erased,
  pool_group,
  told_at,
  open,
  windows,
  seen_at,
  limits,
  dropped_at,
  ...same
}: LeaseRow): PoolLease {
  return {
    ...same,
    isErased: erased === 1,
    group: pool_group,
    toldAt: told_at,
    open: open === 1,
    ...readFormat<Pick<KnownLease, 'windows' | 'batched'>>('grants', windows),
    seenAt: seen_at,
    droppedAt: dropped_at,
    limits: limits === null ? null : (JSON.parse(limits) as PoolLimits),
  };
}
