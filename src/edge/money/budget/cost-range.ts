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
