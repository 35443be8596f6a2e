import type { Nanodollars } from '../../../claude/pricing/cost.ts';
import { wasClockAhead } from '../../../kit/async/clock.ts';
import type { HoldDemand, LeasedMoney } from '../../../money/account/payers.ts';
import type { BatchHoldsTotal, BudgetWindow } from '../../../money/budget/budget-windows.ts';
import type { WindowAmounts } from '../../../money/budget/state.ts';
import { formatCalendarWindowId, getUsdLimitName, PERIODS, type Period } from '../../../money/budget/windows.ts';
import type { LeaseRequestWindow, LeaseResponse, LeaseResponseWindow } from '../contracts/pool.ts';
import type { ParsedPoolName } from '../pool-name.ts';
import type { CoalescedCall } from './shared-call.ts';

/**
 * Milliseconds after its renewal in which an account may hold from a lease. A lowered limit takes at most as long to work.
 */
const USABLE_MS = 60_000;
/** A busy account renews its leases after this part of that time, before a request has to wait for it. Milliseconds. */
const RENEW_AFTER_MS = 30_000;
/**
 * The demand for later requests is estimated from the spending since the last call, over at least this time. Milliseconds.
 */
const LEAST_SPAN_MS = 1_000;

export const NO_DEMAND: HoldDemand = { least: 0, most: 0 };

/** A lease, and the calls that are made for it. */
export interface LeaseWithCalls extends LeasedMoney {
  name: string;
  lease: Lease;
  calls: CoalescedCall;
  demand: HoldDemand;
  /** Whether requests are held from it. Otherwise it is only there to report. */
  isLeased: boolean;
}

/** The lease of an account from one pool. It is not stored: an object that wakes requests a new one. */
export class Lease {
  readonly id: ParsedPoolName;
  readonly #windows: () => Record<Period, WindowAmounts>;
  readonly #grants = new Map<string, LeaseResponseWindow>();
  #seq = 0;
  #usableUntil = Number.NEGATIVE_INFINITY;
  #sentAt = Number.NEGATIVE_INFINITY;
  #slice = Number.POSITIVE_INFINITY;
  #batched: BatchHoldsTotal | undefined;
  #isOpen = false;
  /** Whether the newest call keeps or wants anything. */
  #keepsAny = false;
  /** Whether it was used since the newest call. */
  #isUsed = false;
  /** By window: the spending that the newest call reports. */
  #telling: Record<string, Nanodollars> = {};
  #told: Readonly<Record<string, Nanodollars>> | undefined;
  /** The amount that was settled since the last call. */
  #flow = 0;
  /** The most that was held at one time since the last call. */
  #peak = 0;

  /** @param windows returns the account's settled and held amounts, as far as this pool pays for them */
  constructor(id: ParsedPoolName, windows: () => Record<Period, WindowAmounts>) {
    this.id = id;
    this.#windows = windows;
  }

  /** @returns the number of the newest call. */
  get lastRequestNumber(): number {
    return this.#seq;
  }

  /** @returns whether the pool may count more or less for this account than it has spent. */
  get isLeaseOpen(): boolean {
    return this.#isOpen;
  }

  /** @returns by window the account's spending that the pool knows; undefined if a call may still change it. */
  get confirmedSpending(): Readonly<Record<string, Nanodollars>> | undefined {
    return this.#told;
  }

  /** @returns whether the pool may count more for this account than it has spent and holds. */
  get hasUnusedGrant(): boolean {
    if (!this.#isOpen) return false;
    return this.#listWindows().some(({ id, window }) => {
      const granted = this.#grants.get(id)?.granted;
      return typeof granted === 'number' && computeUnusedGrant(granted, window) > 0;
    });
  }

  #isUsable(now: number): boolean {
    return now < this.#usableUntil && !wasClockAhead(this.#sentAt, now);
  }

  /** @returns whether an amount may be held from this lease now, in every window. */
  coversAmount(amount: Nanodollars, now: number): boolean {
    if (!this.#isUsable(now)) return false;
    return this.#listWindows().every(({ id, window }) => {
      const grant = this.#grants.get(id);
      return grant !== undefined && (grant.granted === null || computeUnusedGrant(grant.granted, window) >= amount);
    });
  }

  /**
   * @returns a budget window for each limited period, from the pool's last answer. What is free in it is leased and unused, or leased
   *   by nobody. An empty list if the lease cannot be used now
   */
  createBudgetWindows(now: number): BudgetWindow[] {
    if (!this.#isUsable(now)) return [];
    return this.#listWindows().flatMap(({ id, period, window }) => {
      const grant = this.#grants.get(id);
      if (!grant || grant.granted === null) return [];
      const free = computeUnusedGrant(grant.granted, window) + Math.max(0, grant.free);
      const { limit: most, left } = grant;
      const held = Math.max(0, left - free);
      const { kind: by } = this.id;
      const settled = most - free - held;
      return [
        { by, name: getUsdLimitName(period), limit: most, settled, held, end: window.end, batched: this.#batched },
      ];
    });
  }

  /** @returns whether it should be renewed now, because it soon cannot be used any more. */
  shouldRenew(now: number): boolean {
    return now >= this.#sentAt + RENEW_AFTER_MS;
  }

  /** Records settled spending and the held amount. */
  recordUse(spent: Nanodollars): void {
    this.#isOpen = true;
    this.#isUsed = true;
    this.#flow += spent;
    this.#peak = Math.max(this.#peak, this.#computeMaxHeld());
  }

  /**
   * Creates the next call to the pool. From now on the account keeps to the amounts in this call, whether it arrives or not.
   *
   * @param returns whether to return all amounts that are not held
   * @param own the most that the account can use in addition to its holds
   */
  composeNextLeaseRequest(
    demand: HoldDemand,
    now: number,
    returns: boolean,
    own: Nanodollars,
  ): { seq: number; windows: LeaseRequestWindow[]; wish: Nanodollars } {
    const held = this.#computeMaxHeld();
    const span = Math.max(LEAST_SPAN_MS, now - this.#sentAt);
    const flow = Math.ceil((this.#flow * USABLE_MS) / span);
    const most = Math.min(demand.most, own);
    const wish = returns ? 0 : Math.min(own - most, Math.max(0, this.#peak - held - demand.most) + flow);
    const isUsable = this.#isUsable(now);
    const windows = this.#listWindows().map(({ id, period, window }): LeaseRequestWindow => {
      const { settled, held, end } = window;
      const grant = this.#grants.get(id);
      const granted = isUsable ? grant?.granted : undefined;
      const unused = typeof granted === 'number' ? Math.max(0, computeUnusedGrant(granted, window)) : 0;
      // Keep unused amounts for the waiting requests first; the account asks the pool only for the rest.
      const retained = returns ? 0 : Math.min(unused, this.#slice, Math.max(wish, most), own - wish);
      if (grant && grant.granted !== null) grant.granted = settled + held + retained;
      return {
        period,
        id,
        end,
        spent: settled,
        kept: held + retained,
        want: Math.max(0, most - retained),
        least: Math.max(0, demand.least - retained),
      };
    });
    this.#seq += 1;
    this.#sentAt = now;
    this.#flow = 0;
    this.#peak = held + demand.most;
    // Remember what this call reports. It counts as reported only once the pool has confirmed it.
    this.#telling = Object.fromEntries(windows.map(({ id, spent }) => [id, spent]));
    this.#told = undefined;
    this.#keepsAny = windows.some(({ kept, want }) => kept + want > 0);
    this.#isOpen = true;
    this.#isUsed = false;
    return { seq: this.#seq, windows, wish };
  }

  /** Takes the answer to the newest call. @param sentAt when that was made; milliseconds since 1970 */
  applyLeaseResponse({ windows, slice, batched }: LeaseResponse, sentAt: number): void {
    this.#batched = batched;
    this.#grants.clear();
    const totals = new Map(this.#listWindows().map(({ id, window }) => [id, window]));
    for (const grant of windows) {
      const window = totals.get(grant.id);
      // With a lowered limit, the pool has leased more than it may. Keep only what is spent or held, and give back the rest.
      const isOver = grant.free < 0 && grant.granted !== null && window !== undefined;
      const granted = isOver ? Math.min(grant.granted ?? 0, window.settled + window.held) : grant.granted;
      this.#grants.set(grant.id, { ...grant, granted });
    }
    this.#slice = slice;
    this.#told = this.#telling;
    this.#isOpen = this.#keepsAny || this.#isUsed;
    this.#usableUntil = sentAt + USABLE_MS;
  }

  #computeMaxHeld(): Nanodollars {
    return Math.max(...this.#listWindows().map(({ window }) => window.held));
  }

  #listWindows(): { id: string; period: Period; window: WindowAmounts }[] {
    const windows = this.#windows();
    return PERIODS.map((period) => ({
      id: formatCalendarWindowId(period, windows[period].start),
      period,
      window: windows[period],
    }));
  }
}

function computeUnusedGrant(granted: Nanodollars, { settled, held }: WindowAmounts): Nanodollars {
  return granted - settled - held;
}
