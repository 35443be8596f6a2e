import { migrate } from '../durable/migrations.ts';
import { readFormat, writeFormat } from '../durable/stored-format.ts';
import { Tables } from '../durable/tables.ts';
import type { PoolLimits } from '../settings/limits.schema.ts';
import type { KnownLease, LeasedWindow } from './grant.ts';
import { POOL_MIGRATIONS } from './tables.ts';

/** A lease with whose it is. */
export interface PoolLease extends KnownLease {
  /** null once the account was erased and has nothing leased any more. */
  account: string | null;
  /** Whether it was erased, and not used since: then its name is told to nobody. */
  isErased: boolean;
  group: string | null;
  /** When the account was last used; milliseconds since 1970. */
  seenAt: number | null;
  /** The account's own limits. */
  limits: PoolLimits | null;
  /** The last handover that was taken. */
  epoch: number;
  /** The change up to which it has told what it has spent; -1 where it is to tell all of that. */
  told: number;
}

interface LeaseRow extends Record<string, SqlStorageValue> {
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
}

/** The rows of a pool. */
export class PoolStore extends Tables {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    super(storage);
    this.#storage = storage;
  }

  /** Makes the tables, where they are not there: an object that is only read keeps nothing. */
  prepare(): void {
    migrate(this.#storage, POOL_MIGRATIONS);
  }

  /** @returns every lease. */
  leases(): PoolLease[] {
    return this.read<LeaseRow>('select * from leases').map((row) => ({
      id: row.id,
      account: row.account,
      isErased: row.erased === 1,
      group: row.pool_group,
      incarnation: row.incarnation,
      seq: row.seq,
      toldAt: row.told_at,
      open: row.open === 1,
      windows: readFormat<{ windows: Record<string, LeasedWindow> }>('grants', row.windows).windows,
      seenAt: row.seen_at,
      limits: row.limits === null ? null : (JSON.parse(row.limits) as PoolLimits),
      epoch: row.epoch,
      told: row.told,
    }));
  }

  /** Writes a lease as it is now. */
  put(lease: PoolLease): void {
    this.write(
      `insert or replace into leases (id, account, erased, pool_group, incarnation, seq, told_at, open, windows, seen_at, limits, epoch, told)
       values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      lease.id,
      lease.account,
      lease.isErased ? 1 : 0,
      lease.group,
      lease.incarnation,
      lease.seq,
      lease.toldAt,
      lease.open ? 1 : 0,
      writeFormat('grants', { windows: lease.windows }),
      lease.seenAt,
      lease.limits === null ? null : JSON.stringify(lease.limits),
      lease.epoch,
      lease.told,
    );
  }
}
