/** The least and the most that a request can hold by the rules of its account. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { WorstCase } from '../../claude/pricing/hold-terms.ts';
import { TEXT_TOKENS } from '../../claude/pricing/thinking-off.ts';
import type { Rules } from './rules.ts';

/** @returns the cost of the shortest useful answer to a request, and the most that it can cost; nanodollars. */
export function rangeOf(exact: WorstCase, rules: Rules): { least: Nanodollars; most: Nanodollars } {
  const worstCase = asHeld(exact, rules);
  const { inputCost, outputPrice } = worstCase;
  const least = inputCost + leastTokens(worstCase, rules) * outputPrice;
  return { least, most: costAtMost(worstCase) };
}

export function costAtMost({ inputCost, outputPrice, outputTokens }: WorstCase): Nanodollars {
  return inputCost + outputTokens * outputPrice;
}

export function leastTokens(worstCase: WorstCase, rules: Rules): number {
  const { outputTokens, leastOutput } = worstCase;
  return rules.clamp ? Math.min(outputTokens, Math.max(leastUseful(worstCase, rules), leastOutput)) : outputTokens;
}

export function leastUseful({ usefulOutput = TEXT_TOKENS }: WorstCase, { leastOutput }: Rules): number {
  return leastOutput ?? usefulOutput;
}

/** @returns the worst case by which a request is held. It is an estimate if the rules estimate the API's own tools. */
export function asHeld(exact: WorstCase, { estimatesServed }: Rules): WorstCase {
  if (!estimatesServed || !exact.served) return exact;
  const { inputTokens, inputCost } = exact.served;
  return { ...exact, inputTokens, inputCost };
}

/** @returns the `max_tokens` that a share of the money pays for; negative if it does not even pay for the input. */
export function affordableOutput(share: Nanodollars, worstCase: WorstCase): number {
  const left = share - worstCase.inputCost;
  if (left < 0) return -1;
  return worstCase.outputPrice > 0 ? Math.floor(left / worstCase.outputPrice) : Number.MAX_SAFE_INTEGER;
}
