import { packSums } from '../../../claude/pricing/usage-sums.ts';
import { DAY_MS } from '../../../kit/async/durations.ts';
import { Rows } from '../../../kit/objects/rows.ts';
import type { Tables } from '../../../kit/objects/tables.ts';
import type { Hold } from '../../../money/budget/state.ts';
import type { SumRow, SumsReport } from '../../../money/contracts/sums.ts';
import { sumsOfClosing } from '../../../money/ledger/ledger.ts';
import { type Closing, ERASED_MODEL } from '../../../money/ledger/tables.ts';
import type { Handover } from '../contracts/pool.ts';

const NO_SUMS: SumsReport = { since: 0, seq: 0, rows: [], whole: [] };

interface PoolHandover extends Handover {
  pool: string;
}

/**
 * Keeps what must still be handed over to pools from an erased account. The first handover for a pool may be on its way, so
 * it never changes: a pool takes each number once.
 */
export class Handovers extends Rows {
  #left: PoolHandover[];

  constructor(tables: Tables) {
    super(tables);
    this.#left = JSON.parse(tables.meta('handovers') ?? '[]') as PoolHandover[];
  }

  /** @returns the names of the pools with an open handover. */
  get pools(): string[] {
    return [...new Set(this.#left.map(({ pool }) => pool))];
  }

  first(pool: string): Handover | undefined {
    const first = this.#left.find((one) => one.pool === pool);
    return first && { epoch: first.epoch, sums: first.sums, late: first.late };
  }

  /** Adds a handover for a pool. @param now its number is made from it, and only grows */
  add(pool: string, now: number, sums: SumsReport = NO_SUMS): void {
    this.#set([...this.#left, { pool, epoch: this.#after(pool, now), sums, late: [] }]);
  }

  /** Adds the cost of a request that was erased while it ran. */
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

  /** @returns a number greater than all earlier ones. */
  #after(pool: string, now: number): number {
    const key = `epoch:${pool}`;
    const epoch = Math.max(now, Number(this.tables.meta(key) ?? 0) + 1);
    this.tables.setMeta(key, String(epoch));
    return epoch;
  }

  #set(left: PoolHandover[]): void {
    this.#left = left;
    this.tables.setMeta('handovers', left.length === 0 ? undefined : JSON.stringify(left));
  }
}
