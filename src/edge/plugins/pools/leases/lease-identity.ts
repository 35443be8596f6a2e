import type { Nanodollars } from '../../../claude/pricing/cost.ts';
import { parseSettingsOnce } from '../../../config/settings.ts';
import { TableRowsBase } from '../../../durable/rows.ts';
import type { SqlTables } from '../../../durable/tables.ts';
import type { Bindings } from '../../../kit/plugins/bindings.ts';
import type { WindowAmounts } from '../../../money/budget/state.ts';
import { formatCalendarWindowId, mapPeriods, PERIODS, type Period } from '../../../money/budget/windows.ts';
import { callPool } from '../call-pool.ts';
import type { LeaseRequest } from '../contracts/pool.ts';
import { DEPLOYMENT_POOL, toGroupPoolName } from '../pool-name.ts';

/** The entry in `meta` about an account's leases. */
interface StoredIdentity {
  /** Identifies its figures to pools. It is random, so that it may outlive the account's name. */
  id: string;
  incarnation: number;
  /** The names of the pools that know it. */
  pools: string[];
  /** By pool and window: what pools count under ids that this account has had before. */
  base: Record<string, Record<string, Nanodollars>>;
  /** The leases of an ended visitor that still have to be merged into the row of all ended visitors. */
  joining: EndedVisitorLease[];
}

interface EndedVisitorLease {
  pool: string;
  id: string;
}

/** The key in `meta` that stores whether the account was used since its erasure. */
const USED_SINCE_ERASURE = 'used_since_erasure';

/** Keeps the id and the incarnation with which an account calls its pools. Both are stored before a pool gets them. */
export class LeaseIdentity extends TableRowsBase {
  #stored: StoredIdentity | undefined;
  #isIncarnate = false;
  #isNamed: boolean;

  constructor(tables: SqlTables) {
    super(tables);
    const stored = tables.readMetaValue('lease');
    this.#stored = stored === undefined ? undefined : (JSON.parse(stored) as StoredIdentity);
    const wasErased = tables.readMetaValue('erasing') !== undefined || tables.readMetaValue('erased_at') !== undefined;
    this.#isNamed = !wasErased || tables.readMetaValue(USED_SINCE_ERASURE) !== undefined;
  }

  /** @returns the names of the pools that know the account. */
  get poolNames(): readonly string[] {
    return this.#stored?.pools ?? [];
  }

  /** @returns the names of the pools that count the cost of a group's requests. */
  listPayingPools(group: string | undefined): string[] {
    if (group === undefined || !this.poolNames.includes(toGroupPoolName(group))) return [DEPLOYMENT_POOL];
    return [DEPLOYMENT_POOL, toGroupPoolName(group)];
  }

  /** @returns whether the account has a name: it was never erased, or was used since. */
  get hasAccountName(): boolean {
    return this.#isNamed;
  }

  /** Records that the account is used. An erased account gets its name again. */
  restoreAccountName(): void {
    if (this.#isNamed) return;
    // Store the flag as well: after it wakes, the object may report to a pool before it is used again.
    this.tables.writeMetaValue(USED_SINCE_ERASURE, '1');
    this.#isNamed = true;
  }

  /** Records that the account is erased. */
  dropAccountName(): void {
    this.tables.writeMetaValue(USED_SINCE_ERASURE, undefined);
    this.#isNamed = false;
  }

  /** Raises the incarnation before the first call after a wake, and stores a pool before the first call to it. */
  raiseIncarnationForPool(pool: string): StoredIdentity {
    const current = this.#stored ?? newIdentity();
    const { incarnation, pools } = current;
    if (this.#isIncarnate && pools.includes(pool)) return current;
    const next = this.#isIncarnate ? incarnation : incarnation + 1;
    const stored = this.#storeIdentity({
      ...current,
      incarnation: next,
      pools: pools.includes(pool) ? pools : [...pools, pool],
    });
    this.#isIncarnate = true;
    return stored;
  }

  /** @returns the account's windows without the amounts that a pool counts under other ids. */
  subtractSpentUnderOldIds(pool: string, windows: Record<Period, WindowAmounts>): Record<Period, WindowAmounts> {
    const base = this.#stored?.base[pool];
    if (base === undefined) return windows;
    return mapPeriods(PERIODS, (period) => {
      const window = windows[period];
      return { ...window, settled: window.settled - (base[formatCalendarWindowId(period, window.start)] ?? 0) };
    });
  }

  /** @returns whether a pool may still have a lease that must be merged into the row of ended visitors. */
  get hasLeasesToMerge(): boolean {
    return (this.#stored?.joining ?? []).length > 0;
  }

  /** @returns whether all that was spent is counted under ids that the account has had before. */
  get isAllSpentUnderOldIds(): boolean {
    return this.poolNames.length === 0 && Object.keys(this.#stored?.base ?? {}).length > 0;
  }

  /**
   * Changes the account's id. Spending from now on is reported under the new id, without any earlier spending.
   *
   * @param spent by pool and window: the amounts that are counted under the old id
   * @param pools the pools that must know the new id because of open holds
   * @param joins whether the old leases are merged into the row of ended visitors
   * @returns the old id, with the number of its last call
   */
  replaceLeaseId(
    spent: ReadonlyMap<string, Readonly<Record<string, Nanodollars>>>,
    { pools = [], joins = false }: { pools?: string[]; joins?: boolean } = {},
  ): Pick<LeaseRequest, 'lease' | 'incarnation' | 'seq'> {
    const { id, incarnation, base, joining, pools: allPools } = this.#stored ?? newIdentity();
    const counted = [...spent].map(([pool, windows]) => {
      const sums = Object.entries(windows).map(([window, one]) => [window, one + (base[pool]?.[window] ?? 0)]);
      return [pool, Object.fromEntries(sums) as Record<string, Nanodollars>];
    });
    this.#storeIdentity({
      id: crypto.randomUUID(),
      incarnation,
      pools,
      base: { ...base, ...(Object.fromEntries(counted) as StoredIdentity['base']) },
      joining: joins ? [...joining, ...allPools.map((pool) => ({ pool, id }))] : joining,
    });
    // Use the highest incarnation for the last call under the old id. No other call under this id can then count as newer, not
    // even after the object's rows were restored to an earlier time.
    return { lease: id, incarnation: Number.MAX_SAFE_INTEGER, seq: 1 };
  }

  /** Has the old leases of a visitor join the row of all. A pool that cannot be reached is called again by the next alarm. */
  async mergeEndedVisitorLeases(pools: Bindings): Promise<void> {
    const settings = parseSettingsOnce(pools);
    const joined = new Set<EndedVisitorLease>();
    for (const lease of this.#stored?.joining ?? []) {
      const { pool: name, id } = lease;
      await callPool({ pools, settings, name }, (pool) => pool.mergeIntoEndedVisitors(id)).then(
        () => joined.add(lease),
        () => {},
      );
    }
    if (joined.size === 0 || !this.#stored) return;
    this.#storeIdentity({ ...this.#stored, joining: this.#stored.joining.filter((one) => !joined.has(one)) });
  }

  /** Raises the incarnation above the one that a pool knows, because the account's rows were restored to an earlier time. */
  raiseIncarnationAbove(incarnation: number): void {
    if (this.#stored) this.#storeIdentity({ ...this.#stored, incarnation: incarnation + 1 });
  }

  #storeIdentity(identity: StoredIdentity): StoredIdentity {
    this.tables.writeMetaValue('lease', JSON.stringify(identity));
    this.#stored = identity;
    return identity;
  }
}

function newIdentity(): StoredIdentity {
  return { id: crypto.randomUUID(), incarnation: 0, pools: [], base: {}, joining: [] };
}
