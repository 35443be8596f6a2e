import { Rows } from '../../durable/rows.ts';
import { readFormat, writeFormat } from '../../durable/stored-format.ts';
import type { Tables } from '../../durable/tables.ts';

/** The entry in `meta` about an account's leases. */
interface StoredIdentity {
  /** Identifies its figures to pools. It is random, so that it may outlive the account's name. */
  id: string;
  incarnation: number;
  /** The names of the pools that know it. */
  pools: string[];
}

/** Keeps the id and the incarnation with which an account calls its pools. Both are stored before a pool gets them. */
export class LeaseIdentity extends Rows {
  #stored: StoredIdentity | undefined;
  #isIncarnate = false;

  constructor(tables: Tables) {
    super(tables);
    const stored = tables.meta('lease');
    this.#stored = stored === undefined ? undefined : readFormat<StoredIdentity>('lease', stored);
  }

  /** @returns the names of the pools that know the account. */
  get pools(): readonly string[] {
    return this.#stored?.pools ?? [];
  }

  /** Takes a higher incarnation before the first call after a wake, and notes a pool before its first call. */
  incarnate(pool: string): StoredIdentity {
    const { id = crypto.randomUUID(), incarnation = 0, pools = [] } = this.#stored ?? {};
    if (this.#isIncarnate && pools.includes(pool)) return { id, incarnation, pools };
    return this.#store({
      id,
      incarnation: this.#isIncarnate ? incarnation : incarnation + 1,
      pools: pools.includes(pool) ? pools : [...pools, pool],
    });
  }

  /** Takes a higher incarnation than one that a pool knows, because the account's rows were put back to an earlier time. */
  outgrow(incarnation: number): void {
    if (this.#stored) this.#store({ ...this.#stored, incarnation: incarnation + 1 });
  }

  #store(identity: StoredIdentity): StoredIdentity {
    this.tables.setMeta('lease', writeFormat('lease', identity));
    this.#stored = identity;
    this.#isIncarnate = true;
    return identity;
  }
}
