/** The least and the most that a request can hold by the rules of its account. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { TEXT_TOKENS } from '../../claude/pricing/minimal-thinking.ts';
import type { Rules } from './rules.ts';

/** @returns the cost of the shortest useful answer to a request, and the most that it can cost; nanodollars. */
export function costRangeOf(exact: MaximumCost, rules: Rules): { least: Nanodollars; most: Nanodollars } {
  const worstCase = toHeldWorstCase(exact, rules);
  const { inputCost, outputPrice } = worstCase;
  const least = inputCost + minTokensOf(worstCase, rules) * outputPrice;
  return { least, most: totalCostOf(worstCase) };
}

export function totalCostOf({ inputCost, outputPrice, outputTokens }: MaximumCost): Nanodollars {
  return inputCost + outputTokens * outputPrice;
}

export function minTokensOf(worstCase: MaximumCost, rules: Rules): number {
  const { outputTokens, leastOutput } = worstCase;
  return rules.shouldClamp
    ? Math.min(outputTokens, Math.max(minUsefulOutput(worstCase, rules), leastOutput))
    : outputTokens;
}

export function minUsefulOutput(
  { usefulOutput = TEXT_TOKENS }: MaximumCost,
  { minOutputTokens: leastOutput }: Rules,
): number {
  return leastOutput ?? usefulOutput;
}

/** @returns the worst case by which a request is held. It is an estimate if the rules estimate the API's own tools. */
export function toHeldWorstCase(exact: MaximumCost, { shouldEstimateServed: estimatesServed }: Rules): MaximumCost {
  if (!estimatesServed || !exact.served) return exact;
  const { inputTokens, inputCost } = exact.served;
  return { ...exact, inputTokens, inputCost };
}

/** @returns the `max_tokens` that a share of the money pays for; negative if it does not even pay for the input. */
export function affordableOutput(share: Nanodollars, worstCase: MaximumCost): number {
  const left = share - worstCase.inputCost;
  if (left < 0) return -1;
  return worstCase.outputPrice > 0 ? Math.floor(left / worstCase.outputPrice) : Number.MAX_SAFE_INTEGER;
}

/** What a request costs without the API's own tools, and what each use of one adds; nanodollars. */
export interface CostByUses {
  uses: number;
  input: Nanodollars;
  output: Nanodollars;
  perUse: Nanodollars;
}

/** @param worstCase as it is held @param least the tokens of its shortest useful answer */
export function costByUses(worstCase: MaximumCost, { shouldEstimateServed }: Rules, least: number): CostByUses {
  const { served, inputCost, outputPrice } = worstCase;
  const { uses = 0, useOutputPrice = 0 } = served ?? {};
  const useCost = (shouldEstimateServed ? served?.estimatedUseCost : served?.useCost) ?? 0;
  return {
    uses,
    input: inputCost - uses * useCost,
    output: least * (outputPrice - uses * useOutputPrice),
    perUse: useCost + least * useOutputPrice,
  };
}

/** @returns how many uses of the API's own tools a share of the money pays for; negative if it does not even pay for the rest */
export function affordableUses(share: Nanodollars, worstCase: MaximumCost, rules: Rules, least: number): number {
  const { input, output, perUse } = costByUses(worstCase, rules, least);
  return Math.floor((share - input - output) / perUse);
}
