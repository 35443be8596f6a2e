/** Who pays for what is asked of an account: its own budget, its caller's token, and budgets that it shares. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { type BudgetWindow, budgetWindows } from '../budget/budget-windows.ts';
import { addHold, type Buckets, type Budget, correct, type Hold, settle } from '../budget/state.ts';
import type { AdmissionCaller, LimitOwner } from '../contracts/admission.ts';
import type { Closing } from '../ledger/tables.ts';
import type { Credits } from './credits.ts';
import type { EffectiveLimits } from './effective-limits.ts';

/** What decides who pays for a request. */
export type PayingCaller = Pick<AdmissionCaller, 'token' | 'pools'>;

/** What a request would hold: the least useful amount, and all that it would take. */
export interface Demand {
  least: Nanodollars;
  most: Nanodollars;
}

export interface HoldEnd {
  closing: Closing;
  /** The buckets of the account's rates, as they are then. */
  buckets: Buckets;
  /** Whether the account was erased meanwhile. */
  isErased: boolean;
}

/** Pays for requests. Each needs enough in all purses of all payers. */
export interface Payer {
  readonly owners: readonly LimitOwner[];
  /** @returns one word for whose money it is. Who waits for the same money waits in one line */
  key(owner: LimitOwner, want: PayingCaller): string;
  /** @returns its limits in money that hold for a request now */
  budgetWindows(want: PayingCaller, now: number): readonly BudgetWindow[];
  /** @returns what a request must be held from, if the money itself is in another object */
  leases?(want: PayingCaller): readonly LeasedMoney[];
  /** Notes a hold that was stored. @param buckets those of the account's rates, as they are then */
  hold?(hold: Hold, buckets: Buckets): void;
  /** Notes that a hold was replaced by what the request has cost. */
  settle(hold: Hold, end: HoldEnd): void;
  /** Notes what was spent without a hold, or settled late. @param more nanodollars; may be negative */
  correct(row: Pick<Hold, 'at' | 'token' | 'group'>, more: Nanodollars): void;
}

/** What another object has set aside for an account. */
export interface LeasedMoney {
  readonly by: LimitOwner;
  covers(amount: Nanodollars, now: number): boolean;
  /**
   * Asks for what a request needs. After that everything must be decided again.
   *
   * @param isFirst whether the request has not asked yet
   * @throws ObjectUnreachable 503 while the other object cannot be reached
   */
  extend(demand: Demand, isFirst?: boolean): Promise<void>;
  /** Notes that a hold was placed. */
  noteHold(now: number): void;
}

/** The budgets that an account shares. Whoever keeps them must be told what it has spent, also where they do not pay. */
export interface SharedBudgets extends Payer {
  leases(want: PayingCaller): readonly LeasedMoney[];
  /** Notes that the sums have changed, other than by a request: by a backup, say. */
  noteRestored(): void;
  noteRefused(): void;
  noteListed(): void;
  /** Notes that the account's listed data has changed. */
  noteDescribed(): void;
  /** Reports to a budget that has asked. */
  report(name: string): Promise<void>;
  /** Reports what was spent, if that is due. The alarm calls it. */
  reportChanges(): Promise<void>;
  /** Stores what must still be told, before the rows it is made from are deleted. */
  beginErasure(): void;
  /** Whether something of before an erasure is still to be told. */
  readonly hasLastCalls: boolean;
  /** Tells the last of before an erasure. @returns whether there is more */
  reportLastCalls(): Promise<boolean>;
  /** Reports everything of an account that ends. @returns whether there is more to do */
  leave(): Promise<boolean>;
}

export function ownBudget(budget: Budget, limits: EffectiveLimits, credits: Credits): Payer {
  return {
    owners: ['account'],
    key: (owner) => owner,
    budgetWindows: () => budgetWindows(budget, limits.rules),
    hold: (hold, buckets) => addHold(budget, hold, buckets),
    settle: (hold, { closing: { cost }, buckets }) => {
      settle(budget, hold, cost, buckets);
      credits.charge(hold.at, cost);
    },
    correct: ({ at, group }, more) => {
      correct(budget, at, more, group);
      credits.charge(at, more);
    },
  };
}
