import type { Purse } from '../../budget/purses.ts';
import type { WindowTotal } from '../../budget/state.ts';
import { limitName, PERIODS, type Period, spanId } from '../../budget/windows.ts';
import type { LeaseAnswer, LeaseFigures, LeaseGrant } from '../../durable/contracts/pool.ts';
import type { PoolId } from '../../pools/pool-name.ts';
import type { Nanodollars } from '../../pricing/cost.ts';

/** How long an account may hold from a lease after it was renewed: a lowered limit may take as long to be felt. */
export const USABLE_MS = 60_000;
/** A busy account renews its leases when so much of that is over, before anybody has to wait for it. */
const RENEW_AFTER_MS = 30_000;
/** What is wished for later is reckoned from what was spent since the last call, over no less than this time. */
const LEAST_SPAN_MS = 1_000;

/** What a request needs of a lease: the least that is of use, and all that it would take. */
export interface Demand {
  least: Nanodollars;
  most: Nanodollars;
}

export const NO_DEMAND: Demand = { least: 0, most: 0 };

/** What an account has leased from one pool, and how far it may go. It is never stored: an object that wakes leases anew. */
export class Lease {
  readonly id: PoolId;
  readonly #windows: () => Record<Period, WindowTotal>;
  readonly #grants = new Map<string, LeaseGrant>();
  #seq = 0;
  #usableUntil = Number.NEGATIVE_INFINITY;
  #sentAt = Number.NEGATIVE_INFINITY;
  #slice = Number.POSITIVE_INFINITY;
  #isOpen = false;
  /** Whether the newest call keeps or wants anything. */
  #keepsAny = false;
  /** Settled since the last call. */
  #flow = 0;
  /** The most that was held at a time since the last call. */
  #peak = 0;

  /** @param windows what the account has settled and held of what this pool pays for, as it is now */
  constructor(id: PoolId, windows: () => Record<Period, WindowTotal>) {
    this.id = id;
    this.#windows = windows;
  }

  /** @returns the number of the newest call. */
  get seq(): number {
    return this.#seq;
  }

  /** @returns whether the pool may count more for this account than it has spent. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** @returns whether the pool may count more for this account than it has spent and holds. */
  get keepsUnused(): boolean {
    if (!this.#isOpen) return false;
    return this.#each().some(({ id, window }) => {
      const granted = this.#grants.get(id)?.granted;
      return typeof granted === 'number' && restOf(granted, window) > 0;
    });
  }

  /** @returns whether an amount may be held from it now, in every window. */
  covers(amount: Nanodollars, now: number): boolean {
    if (now >= this.#usableUntil) return false;
    return this.#each().every(({ id, window }) => {
      const grant = this.#grants.get(id);
      return grant !== undefined && (grant.granted === null || restOf(grant.granted, window) >= amount);
    });
  }

  /**
   * @returns a purse for each limited window, as the pool told last: free in it is what is leased and unused, and what nobody
   * has leased; nothing where the lease is not usable
   */
  purses(now: number): Purse[] {
    if (now >= this.#usableUntil) return [];
    return this.#each().flatMap(({ id, period, window }) => {
      const grant = this.#grants.get(id);
      if (!grant || grant.granted === null) return [];
      const free = restOf(grant.granted, window) + Math.max(0, grant.free);
      const { limit: most, left } = grant;
      const held = Math.max(0, left - free);
      const { kind: by } = this.id;
      return [{ by, name: limitName(period), most, settled: most - free - held, held, end: window.end }];
    });
  }

  /** @returns whether it should be renewed before it cannot be used any more. */
  isAging(now: number): boolean {
    return now >= this.#sentAt + RENEW_AFTER_MS;
  }

  /** Notes what was settled, and how much is held. */
  used(spent: Nanodollars): void {
    this.#flow += spent;
    this.#peak = Math.max(this.#peak, this.#held());
  }

  /**
   * Makes the next call: from here on the account keeps to what it says there, whether the call arrives or not.
   *
   * @param returns whether all that is not held goes back
   */
  compose(demand: Demand, now: number, returns: boolean): { seq: number; windows: LeaseFigures[]; wish: Nanodollars } {
    const held = this.#held();
    const span = Math.max(LEAST_SPAN_MS, now - this.#sentAt);
    const flow = Math.ceil((this.#flow * USABLE_MS) / span);
    const wish = returns ? 0 : Math.max(0, this.#peak - held - demand.most) + flow;
    const isUsable = now < this.#usableUntil;
    const windows = this.#each().map(({ id, period, window }): LeaseFigures => {
      const { settled, held: kept, end } = window;
      const grant = this.#grants.get(id);
      const granted = isUsable ? grant?.granted : undefined;
      const unused = typeof granted === 'number' ? Math.max(0, restOf(granted, window)) : 0;
      // What waits is served out of what is unused first.
      const retained = returns ? 0 : Math.min(unused, this.#slice, Math.max(wish, demand.most));
      if (grant && grant.granted !== null) grant.granted = settled + kept + retained;
      return {
        period,
        id,
        end,
        spent: settled,
        kept: kept + retained,
        want: Math.max(0, demand.most - retained),
        least: Math.max(0, demand.least - retained),
      };
    });
    this.#seq += 1;
    this.#sentAt = now;
    this.#flow = 0;
    this.#peak = held + demand.most;
    // It is closed once the pool has confirmed that.
    this.#keepsAny = windows.some(({ kept, want }) => kept + want > 0);
    this.#isOpen = true;
    return { seq: this.#seq, windows, wish };
  }

  /** Takes the answer to the newest call. @param sentAt when that was made; milliseconds since 1970 */
  take({ windows, slice }: LeaseAnswer, sentAt: number): void {
    this.#grants.clear();
    const totals = new Map(this.#each().map(({ id, window }) => [id, window]));
    for (const grant of windows) {
      const window = totals.get(grant.id);
      // More is leased than the limit, which was lowered: only what is held goes on.
      const isOver = grant.free < 0 && grant.granted !== null && window !== undefined;
      const granted = isOver ? Math.min(grant.granted ?? 0, window.settled + window.held) : grant.granted;
      this.#grants.set(grant.id, { ...grant, granted });
    }
    this.#slice = slice;
    this.#isOpen = this.#keepsAny;
    this.#usableUntil = sentAt + USABLE_MS;
  }

  #held(): Nanodollars {
    return Math.max(...this.#each().map(({ window }) => window.held));
  }

  #each(): { id: string; period: Period; window: WindowTotal }[] {
    const windows = this.#windows();
    return PERIODS.map((period) => ({
      id: spanId(period, windows[period].start),
      period,
      window: windows[period],
    }));
  }
}

function restOf(granted: Nanodollars, { settled, held }: WindowTotal): Nanodollars {
  return granted - settled - held;
}
