/** The least and the most that a request can hold by the rules of its account. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { TEXT_TOKENS } from '../../claude/pricing/minimal-thinking.ts';
import type { LimitRules } from './rules.ts';

/** @returns the cost of the shortest useful answer to a request, and the most that it can cost; nanodollars. */
export function computeCostRange(
  unestimatedCost: MaximumCost,
  rules: LimitRules,
): { least: Nanodollars; most: Nanodollars } {
  const maximumCost = selectCostToHold(unestimatedCost, rules);
  const { inputCost, outputPrice } = maximumCost;
  const least = inputCost + computeMinOutputTokens(maximumCost, rules) * outputPrice;
  return { least, most: computeTotalCost(maximumCost) };
}

export function computeTotalCost({ inputCost, outputPrice, outputTokens }: MaximumCost): Nanodollars {
  return inputCost + outputTokens * outputPrice;
}

export function computeMinOutputTokens(maximumCost: MaximumCost, rules: LimitRules): number {
  const { outputTokens, leastOutput } = maximumCost;
  return rules.canLowerMaxTokens
    ? Math.min(outputTokens, Math.max(getMinUsefulOutputTokens(maximumCost, rules), leastOutput))
    : outputTokens;
}

export function getMinUsefulOutputTokens(
  { usefulOutput = TEXT_TOKENS }: MaximumCost,
  { minOutputTokens }: LimitRules,
): number {
  return minOutputTokens ?? usefulOutput;
}

/** @returns the maximum cost by which a request is held. It is an estimate if the rules estimate the API's own tools. */
export function selectCostToHold(unestimatedCost: MaximumCost, { shouldEstimateServerTools }: LimitRules): MaximumCost {
  if (!shouldEstimateServerTools || !unestimatedCost.serverTools) return unestimatedCost;
  const { inputTokens, inputCost } = unestimatedCost.serverTools;
  return { ...unestimatedCost, inputTokens, inputCost };
}

/** @returns the `max_tokens` that a share of the money pays for; negative if it does not even pay for the input. */
export function computeAffordableOutputTokens(share: Nanodollars, maximumCost: MaximumCost): number {
  const left = share - maximumCost.inputCost;
  if (left < 0) return -1;
  return maximumCost.outputPrice > 0 ? Math.floor(left / maximumCost.outputPrice) : Number.MAX_SAFE_INTEGER;
}

/** The cost of a request without the API's own tools, and the cost that each use of one adds; nanodollars. */
export interface CostPerToolUse {
  uses: number;
  input: Nanodollars;
  output: Nanodollars;
  perUse: Nanodollars;
}

/** @param maximumCost as it is held @param least the tokens of its shortest useful answer */
export function splitCostByToolUses(
  maximumCost: MaximumCost,
  { shouldEstimateServerTools }: LimitRules,
  least: number,
): CostPerToolUse {
  const { serverTools, inputCost, outputPrice } = maximumCost;
  const { uses = 0, useOutputPrice = 0 } = serverTools ?? {};
  const useCost = (shouldEstimateServerTools ? serverTools?.estimatedUseCost : serverTools?.useCost) ?? 0;
  return {
    uses,
    input: inputCost - uses * useCost,
    output: least * (outputPrice - uses * useOutputPrice),
    perUse: useCost + least * useOutputPrice,
  };
}

/** @returns how many uses of the API's own tools a share of the money pays for; negative if it does not even pay for the rest */
export function computeAffordableToolUses(
  share: Nanodollars,
  maximumCost: MaximumCost,
  rules: LimitRules,
  least: number,
): number {
  const { input, output, perUse } = splitCostByToolUses(maximumCost, rules, least);
  return Math.floor((share - input - output) / perUse);
}
