/** Asks who pays for a request: what is left with them, and where that is in another object, for more of it. */

import { ObjectUnreachableError } from '../../durable/call-object.ts';
import type { Decision } from '../budget/budget.ts';
import type { BudgetWindow } from '../budget/budget-windows.ts';
import { quotaStatusOf } from '../budget/quota-status.ts';
import { HELD_RETRY_MS, refusalBy } from '../budget/refusals.ts';
import type { AdmissionDecision, LimitOwner, QuotaStatus, Refusal } from '../contracts/admission.ts';
import type { AccountState } from './account-state.ts';
import type { Demand, LeasedMoney, PayingCaller } from './payers.ts';

/** How often a request asks its pools. Other requests may have taken what it got meanwhile. */
const MAX_ROUNDS = 6;

/** A request that would fit if these leases were larger. */
export interface LeaseShortage {
  outcome: 'short';
  leases: readonly LeasedMoney[];
  demand: Demand;
}

/** @returns all limits in money that hold for a request */
export function budgetWindowsFor({ payers }: AccountState, want: PayingCaller, now: number): BudgetWindow[] {
  return payers.flatMap((payer) => payer.budgetWindows(want, now));
}

/** @returns what a request must be held from, where the money itself is elsewhere */
export function leasesFor({ payers }: AccountState, want: PayingCaller): LeasedMoney[] {
  return payers.flatMap((payer) => payer.leases?.(want) ?? []);
}

/**
 * @returns the decision that a request needs more leased: of all if one of them refuses it and may still be asked, or of those that do
 *   not cover its hold. Undefined if it needs none
 */
export function findShortage(
  decision: Exclude<Decision, { kind: 'count_needed' | 'behind' }>,
  leases: readonly LeasedMoney[],
  demand: Demand,
  mayAsk: boolean,
  now: number,
): LeaseShortage | undefined {
  if (decision.kind === 'refused') {
    return mayAsk && leases.some(({ by }) => by === decision.by) ? { outcome: 'short', leases, demand } : undefined;
  }
  const { nanodollars: most } = decision;
  const lacking = leases.filter((lease) => !lease.covers(most, now));
  return lacking.length > 0 ? { outcome: 'short', leases: lacking, demand: { ...demand, most } } : undefined;
}

/** @returns the decision on a request for which a shared budget should pay although no plugin provides one; undefined for any other */
export function checkPayer(state: AccountState, want: PayingCaller): { outcome: 'unpayable' } | undefined {
  const isShared = want.pools?.deployment || state.groupOf(want) !== undefined;
  return isShared && !state.sharedBudgets ? { outcome: 'unpayable' } : undefined;
}

/** @returns who may pay for a request, each by one word */
export function payersOf({ payers }: AccountState, want: PayingCaller): string[] {
  return payers.flatMap((payer) => payer.owners.map((owner) => payer.key(owner, want)));
}

export function payerOf({ payers }: AccountState, want: PayingCaller, owner: LimitOwner): string {
  return payers.find(({ owners }) => owners.includes(owner))?.key(owner, want) ?? owner;
}

/**
 * Leases what a request lacks, and decides again after each wait, as if the request had just come.
 *
 * @throws what `decideAgain` throws
 */
export async function leaseAndDecide<Decision extends { outcome: string }>(
  state: AccountState,
  first: LeaseShortage,
  decideAgain: () => Decision | LeaseShortage,
): Promise<Decision | AdmissionDecision> {
  let attempt: Decision | LeaseShortage = first;
  for (let rounds = 1; isShort(attempt); rounds += 1) {
    try {
      const { leases, demand } = attempt;
      await Promise.all(leases.map((lease) => lease.extend(demand, rounds === 1)));
    } catch (thrown) {
      // Without the pool nobody knows what others have spent, so the request is refused.
      if (thrown instanceof ObjectUnreachableError) return { outcome: 'unreachable', damage: thrown.damage };
      throw thrown;
    }
    // A backup was restored meanwhile. The caller asks again, and the decision then includes what was spent elsewhere.
    if (state.isReplaced) return { outcome: 'unreachable' };
    attempt = decideAgain();
    if (isShort(attempt) && rounds >= MAX_ROUNDS) return latePoolRefusal(state, attempt);
  }
  return attempt;
}

/** @returns the refusal of a request for which its pools have enough by their figures: others took it, or their answers came late. */
export function latePoolRefusal(state: AccountState, { leases, demand }: LeaseShortage): AdmissionDecision {
  const now = state.advance();
  const by = leases[0]?.by ?? 'deployment';
  const held = refusalBy('held', '', now, now + HELD_RETRY_MS, demand.least, 0, false);
  return refuse(state, { ...held, by, late: true }, now);
}

function isShort(attempt: { outcome: string }): attempt is LeaseShortage {
  return attempt.outcome === 'short';
}

/** @returns the account's answer for a refusal. */
export function refuse(state: AccountState, refusal: Refusal, now: number, jti?: string): AdmissionDecision {
  const standing = quotaStatusNow(state, now, jti);
  return { outcome: 'refused', refusal, ...fallbacksOf(state), quota: standing, unlisted: !state.isListed };
}

export function fallbacksOf({ limits }: AccountState): { fallbacks?: readonly string[] } {
  const { fallback_models: fallbacks } = limits.limits;
  return fallbacks === undefined ? {} : { fallbacks };
}

export function quotaStatusNow(
  { budget, limits, limitedTokens }: AccountState,
  now: number,
  jti?: string,
): QuotaStatus {
  const status = quotaStatusOf(budget, limits.rules, now);
  const purse = limitedTokens.budgetWindowOf(jti);
  if (!purse) return status;
  return { ...status, token: { limit: purse.limit, settled: purse.settled, held: purse.held, resetsAt: purse.end } };
}
