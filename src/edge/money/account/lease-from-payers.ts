/** Decides with the payers of a request. If the money of a payer is in another object, it leases more from there. */

import { ObjectUnreachableError } from '../../durable/call-object.ts';
import type { HoldDecision } from '../budget/budget.ts';
import type { BudgetWindow } from '../budget/budget-windows.ts';
import { createLimitRejection, HELD_RETRY_MS } from '../budget/refusals.ts';
import type { AdmissionDecision, LimitOwner } from '../contracts/admission.ts';
import type { AccountState } from './account-state.ts';
import { createRejectedDecision } from './decision-fields.ts';
import type { HoldDemand, LeasedMoney, PayingCaller } from './payers.ts';

/** How often a request leases from its pools. Other requests may use up the leased amount meanwhile. */
const MAX_ROUNDS = 6;

/** A request that would fit if these leases were larger. */
export interface LeaseShortage {
  outcome: 'short';
  leases: readonly LeasedMoney[];
  demand: HoldDemand;
}

/** @returns all limits in money that hold for a request */
export function collectBudgetWindows({ payers }: AccountState, want: PayingCaller, now: number): BudgetWindow[] {
  return payers.flatMap((payer) => payer.budgetWindows(want, now));
}

/** @returns what a request must be held from, where the money itself is elsewhere */
export function collectLeases({ payers }: AccountState, want: PayingCaller): LeasedMoney[] {
  return payers.flatMap((payer) => payer.leases?.(want) ?? []);
}

/**
 * @returns the decision that a request needs more leased: from all if one of them rejects it and may still lease, or from those
 *   that do not cover its hold. Undefined if it needs none
 */
export function findLeaseShortage(
  decision: Exclude<HoldDecision, { kind: 'count_needed' | 'behind' }>,
  leases: readonly LeasedMoney[],
  demand: HoldDemand,
  mayAsk: boolean,
  now: number,
): LeaseShortage | undefined {
  if (decision.kind === 'refused') {
    return mayAsk && leases.some(({ by }) => by === decision.by) ? { outcome: 'short', leases, demand } : undefined;
  }
  const { nanodollars: most } = decision;
  const lacking = leases.filter((lease) => !lease.coversAmount(most, now));
  return lacking.length > 0 ? { outcome: 'short', leases: lacking, demand: { ...demand, most } } : undefined;
}

/** @returns the decision on a request for which a shared budget should pay although no plugin provides one; undefined for any other */
export function findUnpayableDecision(state: AccountState, want: PayingCaller): { outcome: 'unpayable' } | undefined {
  const isShared = want.pools?.deployment || state.getPayingGroup(want) !== undefined;
  return isShared && !state.sharedBudgets ? { outcome: 'unpayable' } : undefined;
}

/** @returns the keys of the payers of a request */
export function listPayerKeys({ payers }: AccountState, want: PayingCaller): string[] {
  return payers.flatMap((payer) => payer.owners.map((owner) => payer.key(owner, want)));
}

export function getPayerKey({ payers }: AccountState, want: PayingCaller, owner: LimitOwner): string {
  return payers.find(({ owners }) => owners.includes(owner))?.key(owner, want) ?? owner;
}

/**
 * Leases what a request lacks, and decides again after each wait, as if the request had just arrived.
 *
 * @throws what `decideAgain` throws
 */
export async function extendLeasesAndDecide<Decision extends { outcome: string }>(
  state: AccountState,
  first: LeaseShortage,
  decideAgain: () => Decision | LeaseShortage,
): Promise<Decision | AdmissionDecision> {
  let attempt: Decision | LeaseShortage = first;
  for (let rounds = 1; isLeaseShortage(attempt); rounds += 1) {
    try {
      const { leases, demand } = attempt;
      await Promise.all(leases.map((lease) => lease.extendLease(demand, rounds === 1)));
    } catch (thrown) {
      // Only the pool knows what other accounts have spent, so reject the request while the pool cannot be reached.
      if (thrown instanceof ObjectUnreachableError) return { outcome: 'unreachable', damage: thrown.damage };
      throw thrown;
    }
    // A backup was restored meanwhile, so this state is out of date. The caller asks the account again, and that decision
    // includes what other accounts have spent.
    if (state.isReplaced) return { outcome: 'unreachable' };
    attempt = decideAgain();
    if (isLeaseShortage(attempt) && rounds >= MAX_ROUNDS) return createLatePoolRejection(state, attempt);
  }
  return attempt;
}

/** @returns the rejection of a request for which its pools have enough by their figures: others took it, or their answers came late. */
export function createLatePoolRejection(state: AccountState, { leases, demand }: LeaseShortage): AdmissionDecision {
  const now = state.advanceBudgetToNow();
  const by = leases[0]?.by ?? 'deployment';
  const held = createLimitRejection('held', '', now, now + HELD_RETRY_MS, demand.least, 0, false);
  return createRejectedDecision(state, { ...held, by, late: true }, now);
}

function isLeaseShortage(attempt: { outcome: string }): attempt is LeaseShortage {
  return attempt.outcome === 'short';
}
