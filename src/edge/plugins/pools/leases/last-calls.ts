import { packSums } from '../../../claude/pricing/usage-sums.ts';
import { Rows } from '../../../durable/rows.ts';
import type { Tables } from '../../../durable/tables.ts';
import { DAY_MS } from '../../../kit/async/durations.ts';
import type { Hold } from '../../../money/budget/state.ts';
import { sumsOfClosing } from '../../../money/ledger/ledger.ts';
import { type Closing, ERASED_MODEL } from '../../../money/ledger/tables.ts';
import type { LeaseCall } from '../contracts/pool.ts';
import { DEPLOYMENT_POOL } from '../pool-name.ts';

interface LastCall {
  pool: string;
  call: LeaseCall;
}

/**
 * Keeps the last calls of an erased account's leases until the pools have answered. The rows that they were made from are
 * gone. Each may be repeated: a pool takes it once, by the id of the lease.
 */
export class LastCalls extends Rows {
  #left: readonly LastCall[];

  constructor(tables: Tables) {
    super(tables);
    this.#left = JSON.parse(tables.meta('last_calls') ?? '[]') as LastCall[];
  }

  get pending(): readonly LastCall[] {
    return this.#left;
  }

  add(...calls: readonly LastCall[]): void {
    if (calls.length > 0) this.#set([...this.#left, ...calls]);
  }

  /** Adds the cost of a request that was erased while it ran: the only sum of a lease of its own. */
  addLate({ at, group = '' }: Hold, closing: Closing): void {
    const day = Math.floor(at / DAY_MS);
    const sums = packSums(sumsOfClosing(closing));
    const rows = [{ day, group, dimension: 'model' as const, value: ERASED_MODEL, sums }];
    const lease = { lease: crypto.randomUUID(), incarnation: 1, seq: 1, windows: [], wish: 0 };
    const call: LeaseCall = { ...lease, nameless: true, isLast: true, sums: { since: 0, seq: 0, rows, whole: [] } };
    this.add({ pool: DEPLOYMENT_POOL, call });
  }

  remember(call: LastCall): void {
    this.#set(this.#left.filter((one) => one !== call));
  }

  #set(left: readonly LastCall[]): void {
    this.#left = left;
    this.tables.setMeta('last_calls', left.length === 0 ? undefined : JSON.stringify(left));
  }
}
