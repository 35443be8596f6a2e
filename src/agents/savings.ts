/** Estimates what the choice of a model has saved against the control arm. */

import type { Nanodollars } from '../pricing/cost.ts';

/** What the conversations of one group have cost. */
export interface GroupCost {
  conversations: number;
  cost: Nanodollars;
}

/** A figure with its 95 % confidence interval. */
export interface Bounded {
  value: number;
  low: number;
  high: number;
}

/** What was saved; negative if the choice costs more. */
export interface ChoiceSavings {
  /** Of what the same conversations would have cost without the choice; 1 is all of it. */
  share: Bounded;
  /** By all conversations whose models were chosen; nanodollars. */
  cost: Bounded;
}

/** The 97.5 % quantile of Student's t for 31 degrees of freedom, as many as 32 groups have. */
const T = 2.0395;
/**
 * How many conversations an arm needs. Costs have few large values: with fewer conversations these are yet to come, and an
 * interval for 95 % would hold the truth less often.
 */
export const ENOUGH_CONVERSATIONS = 100;

/**
 * Compares the mean costs of both arms. How sure a mean is comes from what its groups differ in, as a conversation is in one
 * group by a hash: the variance of a ratio of sums over independent groups. The interval is that of the logarithm of the
 * means' ratio, because costs are skewed.
 *
 * @returns undefined where an arm has too few conversations, or has cost nothing
 */
export function estimateSavings(
  chosen: readonly GroupCost[],
  control: readonly GroupCost[],
): ChoiceSavings | undefined {
  const [one, other] = [meanOf(chosen), meanOf(control)];
  if (!one || !other) return undefined;
  const ratio = one.mean / other.mean;
  const spread = Math.exp(T * Math.sqrt(one.variance + other.variance));
  const share = { value: 1 - ratio, low: 1 - ratio * spread, high: 1 - ratio / spread };
  // What the same conversations would have cost is what they have cost, by the ratio.
  const saved = (share: number) => (one.cost * share) / (1 - share);
  return { share, cost: { value: saved(share.value), low: saved(share.low), high: saved(share.high) } };
}

/** @returns the mean cost of a conversation, and the variance of its logarithm; undefined for too few */
function meanOf(groups: readonly GroupCost[]): { mean: number; variance: number; cost: Nanodollars } | undefined {
  const conversations = groups.reduce((sum, group) => sum + group.conversations, 0);
  const cost = groups.reduce((sum, group) => sum + group.cost, 0);
  if (conversations < ENOUGH_CONVERSATIONS || cost <= 0) return undefined;
  const mean = cost / conversations;
  const squares = groups.reduce((sum, group) => sum + (group.cost - mean * group.conversations) ** 2, 0);
  return { mean, cost, variance: ((groups.length / (groups.length - 1)) * squares) / cost ** 2 };
}
