import { Rows } from '../../durable/rows.ts';
import { readFormat, writeFormat } from '../../durable/stored-format.ts';
import type { Tables } from '../../durable/tables.ts';
import type { Nanodollars } from '../../pricing/cost.ts';

/** The entry in `meta` about an account's leases. */
interface StoredIdentity {
  /** Identifies its figures to pools. It is random, so that it may outlive the account's name. */
  id: string;
  incarnation: number;
  /** The names of the pools that know it. */
  pools: string[];
  /** By pool and window: what pools count for nobody, because it was spent before an erasure. */
  base: Record<string, Record<string, Nanodollars>>;
  /** Ids that this account has had, and the pools that do not know yet that they were given up. */
  dropped: DroppedLease[];
}

/** A lease of the time before an erasure. */
export interface DroppedLease {
  pool: string;
  id: string;
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
    const known = this.#stored ?? { id: crypto.randomUUID(), incarnation: 0, pools: [], base: {}, dropped: [] };
    const { incarnation, pools } = known;
    if (this.#isIncarnate && pools.includes(pool)) return known;
    const next = this.#isIncarnate ? incarnation : incarnation + 1;
    this.#isIncarnate = true;
    return this.#store({
      ...known,
      incarnation: next,
      pools: pools.includes(pool) ? pools : [...pools, pool],
    });
  }

  /** @returns by window what a pool counts for nobody, although the account has spent it; undefined if there is nothing. */
  baseOf(pool: string): Readonly<Record<string, Nanodollars>> | undefined {
    return this.#stored?.base[pool];
  }

  /** @returns the leases that pools still keep, although the account has given them up. */
  get dropped(): readonly DroppedLease[] {
    return this.#stored?.dropped ?? [];
  }

  /** Gives up the id, and takes another one. @param told by pool and window: what each pool knows under this id */
  giveUp(told: ReadonlyMap<string, Readonly<Record<string, Nanodollars>>>): void {
    if (!this.#stored) return;
    const { id, pools, base, dropped } = this.#stored;
    const moved = [...told].map(([pool, windows]) => {
      const sums = Object.entries(windows).map(([window, spent]) => [window, spent + (base[pool]?.[window] ?? 0)]);
      return [pool, Object.fromEntries(sums) as Record<string, Nanodollars>];
    });
    this.#store({
      ...this.#stored,
      id: crypto.randomUUID(),
      pools: [],
      base: { ...base, ...(Object.fromEntries(moved) as StoredIdentity['base']) },
      dropped: [...dropped, ...pools.map((pool) => ({ pool, id }))],
    });
  }

  /** Notes that a pool has deleted a lease that was given up. */
  forget({ pool, id }: DroppedLease): void {
    if (!this.#stored) return;
    const left = this.#stored.dropped.filter((one) => one.pool !== pool || one.id !== id);
    this.#store({ ...this.#stored, dropped: left });
  }

  /** Takes a higher incarnation than one that a pool knows, because the account's rows were put back to an earlier time. */
  outgrow(incarnation: number): void {
    if (this.#stored) this.#store({ ...this.#stored, incarnation: incarnation + 1 });
  }

  #store(identity: StoredIdentity): StoredIdentity {
    this.tables.setMeta('lease', writeFormat('lease', identity));
    this.#stored = identity;
    return identity;
  }
}
