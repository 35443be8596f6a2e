import { packSums } from '../../../claude/pricing/usage-sums.ts';
import { TableRowsBase } from '../../../durable/rows.ts';
import type { SqlTables } from '../../../durable/tables.ts';
import { DAY_MS } from '../../../kit/async/durations.ts';
import type { Hold } from '../../../money/budget/state.ts';
import { toSumsOfErasedRow } from '../../../money/ledger/ledger.ts';
import { ERASED_MODEL, type SettledRequestFields } from '../../../money/ledger/tables.ts';
import type { LeaseRequest } from '../contracts/pool.ts';
import { DEPLOYMENT_POOL } from '../pool-name.ts';

interface FinalLeaseRequest {
  pool: string;
  call: LeaseRequest;
}

/**
 * Keeps the last calls of an erased account's leases until the pools have answered. The rows that they were made from are
 * gone. Each may be repeated: a pool takes it once, by the id of the lease.
 */
export class FinalLeaseRequestStore extends TableRowsBase {
  #left: readonly FinalLeaseRequest[];

  constructor(tables: SqlTables) {
    super(tables);
    this.#left = JSON.parse(tables.readMetaValue('last_calls') ?? '[]') as FinalLeaseRequest[];
  }

  get pendingRequests(): readonly FinalLeaseRequest[] {
    return this.#left;
  }

  addRequests(...calls: readonly FinalLeaseRequest[]): void {
    if (calls.length > 0) this.#storePendingRequests([...this.#left, ...calls]);
  }

  /** Adds the cost of a request whose account was erased while it ran: the only sum of a separate lease. */
  addErasedRequestCost({ at, group = '' }: Hold, closing: SettledRequestFields): void {
    const day = Math.floor(at / DAY_MS);
    const sums = packSums(toSumsOfErasedRow(closing));
    const rows = [{ day, group, dimension: 'model' as const, value: ERASED_MODEL, sums }];
    const lease = { lease: crypto.randomUUID(), incarnation: 1, seq: 1, windows: [], wish: 0 };
    const call: LeaseRequest = { ...lease, nameless: true, isLast: true, sums: { since: 0, seq: 0, rows, whole: [] } };
    this.addRequests({ pool: DEPLOYMENT_POOL, call });
  }

  removeAnsweredRequest(call: FinalLeaseRequest): void {
    this.#storePendingRequests(this.#left.filter((one) => one !== call));
  }

  #storePendingRequests(left: readonly FinalLeaseRequest[]): void {
    this.#left = left;
    this.tables.writeMetaValue('last_calls', left.length === 0 ? undefined : JSON.stringify(left));
  }
}
