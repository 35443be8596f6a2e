import { DAY_MS } from '../../async/durations.ts';
import type { Hold } from '../../budget/state.ts';
import type { Handover, SumRow, SumsReport } from '../../durable/contracts/pool.ts';
import { Rows } from '../../durable/rows.ts';
import { readFormat, writeFormat } from '../../durable/stored-format.ts';
import type { Tables } from '../../durable/tables.ts';
import { packSums } from '../../pricing/usage-sums.ts';
import { sumsOfClosing } from '../ledger/ledger.ts';
import { type Closing, ERASED_MODEL } from '../ledger/tables.ts';

interface PoolHandover extends Handover {
  pool: string;
}

/**
 * Keeps what pools are still to be handed over of an erased account. The first for a pool may be under way, and never
 * changes: a pool takes each number once.
 */
export class Handovers extends Rows {
  #left: PoolHandover[];

  constructor(tables: Tables) {
    super(tables);
    this.#left = readFormat<PoolHandover[]>('handovers', tables.meta('handovers') ?? '[]');
  }

  /** @returns the names of the pools that something is to be handed over to. */
  get pools(): string[] {
    return [...new Set(this.#left.map(({ pool }) => pool))];
  }

  /** @returns what a pool is handed over next. */
  first(pool: string): Handover | undefined {
    const first = this.#left.find((one) => one.pool === pool);
    return first && { epoch: first.epoch, sums: first.sums, late: first.late };
  }

  /** Adds what is handed over to a pool. @param now makes its number, which only grows */
  add(pool: string, now: number, sums: SumsReport): void {
    this.#set([...this.#left, { pool, epoch: this.#after(pool, now), sums, late: [] }]);
  }

  /** Adds what a request has cost that was erased while it ran. */
  addLate(pool: string, { at, group = '' }: Hold, closing: Closing): void {
    const row: SumRow = {
      day: Math.floor(at / DAY_MS),
      group,
      dimension: 'model',
      value: ERASED_MODEL,
      sums: packSums(sumsOfClosing(closing)),
    };
    const known = this.#left.filter((one) => one.pool === pool);
    const last = known.at(-1);
    if (!last || known.length < 2) {
      const epoch = this.#after(pool, closing.at);
      this.#set([...this.#left, { pool, epoch, late: [row] }]);
    } else {
      this.#set(this.#left.map((one) => (one === last ? { ...one, late: [...one.late, row] } : one)));
    }
  }

  /** Notes that a pool has taken everything up to a number. */
  taken(pool: string, epoch: number): void {
    this.#set(this.#left.filter((one) => one.pool !== pool || one.epoch > epoch));
  }

  /** @returns a number above all that were given before. */
  #after(pool: string, now: number): number {
    const key = `epoch:${pool}`;
    const epoch = Math.max(now, Number(this.tables.meta(key) ?? 0) + 1);
    this.tables.setMeta(key, String(epoch));
    return epoch;
  }

  #set(left: PoolHandover[]): void {
    this.#left = left;
    this.tables.setMeta('handovers', left.length === 0 ? undefined : writeFormat('handovers', left));
  }
}
