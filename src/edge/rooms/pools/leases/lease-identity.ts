import type { Nanodollars } from '../../../claude/pricing/cost.ts';
import { settingsOf } from '../../../gate/settings/settings.ts';
import type { Bindings } from '../../../kit/objects/bindings.ts';
import { Rows } from '../../../kit/objects/rows.ts';
import type { Tables } from '../../../kit/objects/tables.ts';
import type { WindowTotal } from '../../../money/budget/state.ts';
import { byPeriod, PERIODS, type Period, spanId } from '../../../money/budget/windows.ts';
import { callPool } from '../call-pool.ts';
import { DEPLOYMENT_POOL, groupPool } from '../pool-name.ts';

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
interface DroppedLease {
  pool: string;
  id: string;
}

/** The key in `meta` that says whether the account was used since its erasure. */
const USED_SINCE_ERASURE = 'used_since_erasure';

/** Keeps the id and the incarnation with which an account calls its pools. Both are stored before a pool gets them. */
export class LeaseIdentity extends Rows {
  #stored: StoredIdentity | undefined;
  #isIncarnate = false;
  #isNamed: boolean;

  constructor(tables: Tables) {
    super(tables);
    const stored = tables.meta('lease');
    this.#stored = stored === undefined ? undefined : (JSON.parse(stored) as StoredIdentity);
    const wasErased = tables.meta('erasing') !== undefined || tables.meta('erased_at') !== undefined;
    this.#isNamed = !wasErased || tables.meta(USED_SINCE_ERASURE) !== undefined;
  }

  /** @returns the names of the pools that know the account. */
  get pools(): readonly string[] {
    return this.#stored?.pools ?? [];
  }

  /** @returns the names of the pools that count what a group's requests have cost. */
  payersOf(group: string | undefined): string[] {
    if (group === undefined || !this.pools.includes(groupPool(group))) return [DEPLOYMENT_POOL];
    return [DEPLOYMENT_POOL, groupPool(group)];
  }

  /** @returns whether the account has a name: it was never erased, or was used since. */
  get isNamed(): boolean {
    return this.#isNamed;
  }

  /** Notes that the account is used. An erased account gets its name again. */
  name(): void {
    if (this.#isNamed) return;
    this.#isNamed = true;
    // Stored, because after a wake the object may report before it is used again.
    this.tables.setMeta(USED_SINCE_ERASURE, '1');
  }

  /** Notes that the account is erased. */
  loseName(): void {
    this.#isNamed = false;
    this.tables.setMeta(USED_SINCE_ERASURE, undefined);
  }

  /** Takes a higher incarnation before the first call after a wake, and notes a pool before its first call. */
  incarnate(pool: string): StoredIdentity {
    const known = this.#stored ?? { id: crypto.randomUUID(), incarnation: 0, pools: [], base: {}, dropped: [] };
    const { incarnation, pools } = known;
    if (this.#isIncarnate && pools.includes(pool)) return known;
    const next = this.#isIncarnate ? incarnation : incarnation + 1;
    this.#isIncarnate = true;
    return this.#store({ ...known, incarnation: next, pools: pools.includes(pool) ? pools : [...pools, pool] });
  }

  /** @returns the account's windows without what a pool counts for nobody. */
  withoutBase(pool: string, windows: Record<Period, WindowTotal>): Record<Period, WindowTotal> {
    const base = this.#stored?.base[pool];
    if (base === undefined) return windows;
    return byPeriod(PERIODS, (period) => {
      const window = windows[period];
      return { ...window, settled: window.settled - (base[spanId(period, window.start)] ?? 0) };
    });
  }

  /** @returns whether a pool may still keep a lease that the account has given up. */
  get isDropping(): boolean {
    return (this.#stored?.dropped ?? []).length > 0;
  }

  get hasGivenUp(): boolean {
    return Object.keys(this.#stored?.base ?? {}).length > 0;
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

  /** Has pools delete the leases that were given up. A pool that cannot be reached is called again by the next alarm. */
  async drop(pools: Bindings): Promise<void> {
    const settings = settingsOf(pools);
    const deleted = new Set<DroppedLease>();
    for (const lease of this.#stored?.dropped ?? []) {
      const { pool: name, id } = lease;
      await callPool({ pools, settings, name }, (pool) => pool.dropLease(id)).then(
        () => deleted.add(lease),
        () => {},
      );
    }
    if (deleted.size === 0 || !this.#stored) return;
    this.#store({ ...this.#stored, dropped: this.#stored.dropped.filter((one) => !deleted.has(one)) });
  }

  /** Takes a higher incarnation than one that a pool knows, because the account's rows were put back to an earlier time. */
  outgrow(incarnation: number): void {
    if (this.#stored) this.#store({ ...this.#stored, incarnation: incarnation + 1 });
  }

  #store(identity: StoredIdentity): StoredIdentity {
    this.tables.setMeta('lease', JSON.stringify(identity));
    this.#stored = identity;
    return identity;
  }
}
