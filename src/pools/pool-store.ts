import { DAY_MS } from '../async/durations.ts';
import type { Handover, SharedUsageQuery, SumRow, SumsReport } from '../durable/contracts/pool.ts';
import { migrate } from '../durable/migrations.ts';
import { readFormat, writeFormat } from '../durable/stored-format.ts';
import { Tables } from '../durable/tables.ts';
import type { PoolLimits } from '../settings/limits.schema.ts';
import type { KnownLease, LeasedWindow } from './grant.ts';
import { ERASED, POOL_MIGRATIONS, SUM_COLUMNS } from './tables.ts';

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
}

export type SumColumns = Record<(typeof SUM_COLUMNS)[number], number>;
type SumsOfKey = Record<string, SqlStorageValue> & SumColumns & { key: string | null };

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
}

const ADD = SUM_COLUMNS.map((column) => `${column} = ${column} + excluded.${column}`).join(', ');

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
    }));
  }

  /** Writes a lease as it is now. */
  put(lease: PoolLease): void {
    this.write(
      `insert or replace into leases (id, account, erased, pool_group, incarnation, seq, told_at, open, windows, seen_at, limits, epoch)
       values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
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
    );
  }

  /** Has the sums of a lease be as reported, on the days of the report; writes only what differs. */
  putSums(lease: string, { days, rows }: SumsReport): void {
    for (const day of days) {
      type Known = Record<string, SqlStorageValue> & SumColumns & { pool_group: string; model: string };
      const known = new Map(
        this.read<Known>('select * from sums where lease = ? and day = ?', lease, day).map((row) => [
          keyOf(row.pool_group, row.model),
          row,
        ]),
      );
      for (const { group, model, sums } of rows.filter((row) => row.day === day)) {
        const key = keyOf(group, model);
        const before = known.get(key);
        known.delete(key);
        if (before && SUM_COLUMNS.every((column, at) => before[column] === sums[at])) continue;
        this.#insert('insert or replace', '', lease, { day, group, model, sums });
      }
      for (const { pool_group, model } of known.values()) {
        this.write(
          'delete from sums where lease = ? and day = ? and pool_group = ? and model = ?',
          lease,
          day,
          pool_group,
          model,
        );
      }
    }
  }

  /** Takes what an erased account leaves behind: its sums move to those without a name, and what came late is added there. */
  takeOver(lease: string, { sums, late }: Handover): void {
    const moved = sums === undefined ? [] : this.#eraseSums(lease, sums);
    for (const row of [...moved, ...late]) {
      const upsert = `on conflict (lease, day, pool_group, model) do update set ${ADD}`;
      this.#insert('insert', upsert, '', { ...row, model: ERASED });
    }
  }

  /** Deletes the sums of a lease. @returns what they were, without their models */
  #eraseSums(lease: string, sums: SumsReport): SumRow[] {
    this.putSums(lease, sums);
    const totals = SUM_COLUMNS.map((column) => `sum(${column}) as ${column}`).join(', ');
    const moved = this.read<Record<string, SqlStorageValue> & SumColumns & { day: number; pool_group: string }>(
      `select day, pool_group, ${totals} from sums where lease = ? group by day, pool_group`,
      lease,
    );
    const rows = moved.map(
      (row): SumRow => ({
        day: row.day,
        group: row.pool_group,
        model: ERASED,
        sums: SUM_COLUMNS.map((column) => row[column]),
      }),
    );
    this.write('delete from sums where lease = ?', lease);
    return rows;
  }

  /** @returns what was spent, by account or by group; the dearest first. */
  sumsBy({ from, to, group_by }: SharedUsageQuery): SumsOfKey[] {
    const key =
      group_by === 'account'
        ? `iif(leases.erased = 0, coalesce(leases.account, '${ERASED}'), '${ERASED}')`
        : "nullif(sums.pool_group, '')";
    return this.read<SumsOfKey>(
      `select ${key} as key, ${SUM_COLUMNS.map((column) => `sum(sums.${column}) as ${column}`).join(', ')}
       from sums left join leases on leases.id = sums.lease
       where sums.day >= ? and sums.day < ? group by 1 order by cost desc, key`,
      from === undefined ? 0 : Date.parse(from) / DAY_MS,
      to === undefined ? Number.MAX_SAFE_INTEGER : Date.parse(to) / DAY_MS,
    );
  }

  #insert(verb: string, upsert: string, lease: string, { day, group, model, sums }: SumRow): void {
    this.write(
      `${verb} into sums (lease, day, pool_group, model, ${SUM_COLUMNS.join(', ')})
       values (?, ?, ?, ?, ${SUM_COLUMNS.map(() => '?').join(', ')}) ${upsert}`,
      lease,
      day,
      group,
      model,
      ...SUM_COLUMNS.map((_, at) => sums[at] ?? 0),
    );
  }
}

function keyOf(group: string, model: string): string {
  return JSON.stringify([group, model]);
}
