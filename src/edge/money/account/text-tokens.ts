/** Estimates the tokens of the shortest useful response by the account's earlier responses. */

import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import type { AdmissionRequest } from '../contracts/admission.ts';
import type { AccountState } from './account-state.ts';

/** Lowers the tokens of the shortest useful response to what the account's earlier responses show. */
export function estimateUsefulOutput(state: AccountState, request: AdmissionRequest): AdmissionRequest {
  const { model, maximumCost } = request;
  if (!maximumCost) return request;
  return {
    ...request,
    maximumCost: replaceUsefulOutput(maximumCost, (most) => state.answerLengths.estimateTokensForText(model, most)),
  };
}

/** Lowers the tokens of the shortest useful response to the fewest that are worth a try before the request is rejected. */
export function lowerUsefulOutputToFewest(
  { answerLengths }: AccountState,
  { model }: AdmissionRequest,
  maximumCost: MaximumCost,
): MaximumCost {
  return replaceUsefulOutput(maximumCost, (most) => answerLengths.estimateTokensWorthTrying(model, most));
}

/**
 * Replaces the tokens that leave room for a text (`usefulOutput`) by an estimate. With a thinking budget they stay, because the
 * model may use up the budget before it writes.
 *
 * @param estimate returns the estimate, given the tokens that are enough whatever the account's responses show
 */
function replaceUsefulOutput(maximumCost: MaximumCost, estimate: (mostTokens: number) => number): MaximumCost {
  const { usefulOutput, leastOutput } = maximumCost;
  const hasThinkingBudget = leastOutput > 1;
  if (usefulOutput === undefined || hasThinkingBudget) return maximumCost;
  return { ...maximumCost, usefulOutput: estimate(usefulOutput) };
}
