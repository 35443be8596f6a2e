/** The payers of an account's requests: its own budget, its caller's token, and budgets that it shares. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { KeyRateLimits } from '../../claude/upstreams/rate-limits.ts';
import { type BudgetWindow, createBudgetWindows } from '../budget/budget-windows.ts';
import {
  addCostToWindows,
  addHold,
  type BucketRefillTimes,
  type Budget,
  type Hold,
  settleHoldInBudget,
} from '../budget/state.ts';
import type { AdmissionContext, LimitOwner } from '../contracts/admission.ts';
import type { SettledRequestFields } from '../ledger/tables.ts';
import type { AccountCredits } from './credits.ts';
import type { EffectiveAccountLimits } from './effective-limits.ts';

/** The facts that determine the payers of a request. */
export type PayingCaller = Pick<AdmissionContext, 'token' | 'pools'>;

/** The amounts that a request would hold: the least useful amount, and its maximum. */
export interface HoldDemand {
  least: Nanodollars;
  most: Nanodollars;
}

export interface HoldClosing {
  closing: SettledRequestFields;
  /** The buckets of the account's rates, as they are then. */
  buckets: BucketRefillTimes;
  /** Whether the account was erased meanwhile. */
  isErased: boolean;
}

/** Pays for requests. A request needs enough in all budget windows of all payers. */
export interface Payer {
  readonly owners: readonly LimitOwner[];
  /** @returns the key of a budget's owner. Requests that wait for the same budget share one order in the queue */
  key(owner: LimitOwner, want: PayingCaller): string;
  /** @returns its limits in money that hold for a request now */
  budgetWindows(want: PayingCaller, now: number): readonly BudgetWindow[];
  /** @returns the leases that must cover a request's hold, if the budget itself is in another object */
  leases?(want: PayingCaller): readonly LeasedMoney[];
  /** Records a hold that was stored. @param buckets those of the account's rates, as they are then */
  hold?(hold: Hold, buckets: BucketRefillTimes): void;
  /** Records that a hold was replaced by what the request has cost. */
  settle(hold: Hold, end: HoldClosing): void;
  /** Records what was spent without a hold, or settled late. @param more nanodollars; may be negative */
  correct(row: Pick<Hold, 'at' | 'token' | 'group'>, more: Nanodollars): void;
}

/** The money that another object has reserved for an account. */
export interface LeasedMoney {
  readonly by: LimitOwner;
  coversAmount(amount: Nanodollars, now: number): boolean;
  /**
   * Leases the amount that a request needs. After that the request must be decided again.
   *
   * @param isFirst whether this is the request's first lease
   * @throws ObjectUnreachableError 503 while the other object cannot be reached
   */
  extendLease(demand: HoldDemand, isFirst?: boolean): Promise<void>;
  /** Records that a hold was placed. */
  recordHold(now: number): void;
}

/**
 * The budgets that an account shares. Their objects must receive the account's spending, even of requests for which they do not
 * pay.
 */
export interface SharedBudgetsOfAccount extends Payer {
  leases(want: PayingCaller): readonly LeasedMoney[];
  /** Records that the sums have changed, other than by a request: by a backup, say. */
  onSumsRestored(): void;
  onRequestRejected(): void;
  /** Records what is left of the rate limits of the deployment's keys. The next report has it. */
  onKeyLimitsReported(limits: readonly KeyRateLimits[]): void;
  onAccountListed(): void;
  /** Records that the account's listed data has changed. */
  onAccountDataChanged(): void;
  /** Reports to a budget that has asked. */
  reportToBudget(name: string): Promise<void>;
  /** Reports what was spent, if that is due. The alarm calls it. */
  reportDueChanges(): Promise<void>;
  /** Stores what must still be reported, before the rows from which it is computed are deleted. */
  storeUnreportedBeforeErasure(): void;
  /** Whether something from before an erasure must still be reported. */
  readonly hasLastCalls: boolean;
  /** Reports what is left from before an erasure. @returns whether there is more */
  reportUnreportedBeforeErasure(): Promise<boolean>;
  /** Reports everything of an account that ends. @returns whether there is more to do */
  reportAllAndLeave(): Promise<boolean>;
}

export function createAccountBudgetPayer(
  budget: Budget,
  limits: EffectiveAccountLimits,
  credits: AccountCredits,
): Payer {
  return {
    owners: ['account'],
    key: (owner) => owner,
    budgetWindows: () => createBudgetWindows(budget, limits.decisionRules),
    hold: (hold, buckets) => addHold(budget, hold, buckets),
    settle: (hold, { closing: { cost }, buckets }) => {
      settleHoldInBudget(budget, hold, cost, buckets);
      credits.chargeExpiringCredits(hold.at, cost);
    },
    correct: ({ at, group }, more) => {
      addCostToWindows(budget, at, more, group);
      credits.chargeExpiringCredits(at, more);
    },
  };
}
