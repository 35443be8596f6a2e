/** Says in words for the caller what helps where a limit is too small for a request. */

import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { TEXT_TOKENS } from '../../claude/pricing/minimal-thinking.ts';
import type { BudgetWindow } from './budget-windows.ts';
import { computeAffordableToolUses, getMinUsefulOutputTokens, splitCostByToolUses } from './cost-range.ts';
import type { LimitRules } from './rules.ts';

/** Tokens of a short question: where the limit does not even pay for these, nobody is told to send a shorter one. */
const SHORT_QUESTION = 32;

/** What helps where a limit cannot pay for what the API's own tools may cost, and what that does not promise. */
export const ESTIMATE_HELPS =
  'served_tools: estimate in the account’s limits (it sets aside what such tools usually read, and a request may cost more than that, and pass the limit)';

/** @returns what helps if what is left of the limits is too little for the uses of a tool of the API; undefined if nothing does */
export function describeToolUseRemedies(
  worstCase: MaximumCost,
  rules: LimitRules,
  left: number,
  least: number,
): string | undefined {
  const { uses, input, output, perUse } = splitCostByToolUses(worstCase, rules, least);
  if (!worstCase.served || uses * perUse < Math.max(input, output)) return undefined;
  const help = listToolUseRemedies(worstCase, rules, left, least).join(', or ');
  return help === '' ? undefined : `Because of ${worstCase.served.tool}: ${help}.`;
}

/** @param money what may be spent, in nanodollars */
function listToolUseRemedies(worstCase: MaximumCost, rules: LimitRules, money: number, least: number): string[] {
  const { served, outputPrice } = worstCase;
  if (!served) return [];
  const fitting = Math.min(served.uses - 1, computeAffordableToolUses(money, worstCase, rules, least));
  const isKnown = served.single && fitting > 0;
  const estimated = served.inputCost + least * outputPrice;
  return [
    ...(served.lacksMaxUses ? [`set max_uses${isKnown ? ` (${fitting} would fit)` : ''}`] : []),
    ...(isKnown && !served.lacksMaxUses ? [`max_uses ${fitting} would fit`] : []),
    ...(!rules.shouldEstimateServed && estimated <= money ? [ESTIMATE_HELPS] : []),
  ];
}

/** @returns the end of a sentence that says what helps if a request needs more than the whole smallest limit. */
export function explainUnaffordableRequest(
  worstCase: MaximumCost,
  rules: LimitRules,
  purses: readonly BudgetWindow[],
  least: number,
): string {
  const { served, because } = worstCase;
  const limit = Math.min(...purses.map(({ limit: most }) => most));
  if (limit <= 0) return 'which is 0: its administrator can raise it';
  const { uses, input, output, perUse } = splitCostByToolUses(worstCase, rules, least);
  // What is blamed is the largest part of the cost.
  if (served && uses * perUse >= Math.max(input, output)) {
    const help = listToolUseRemedies(worstCase, rules, limit, least);
    return `because of ${served.tool}: ${help.length > 0 ? help.join(', or ') : 'leave it out, or have the limit raised'}`;
  }
  if (input >= output) {
    if (because !== undefined) return `because of ${because}, whose size is not known: send its content in the request`;
    const shortest = (input * SHORT_QUESTION) / worstCase.inputTokens;
    if (output + shortest <= limit) return 'because of its length: send a shorter one, or use a cheaper model';
    if (output <= limit) return 'which pays for no question: use a cheaper model, or have it raised';
  }
  if (
    rules.shouldClamp &&
    rules.minOutputTokens === undefined &&
    getMinUsefulOutputTokens(worstCase, rules) > TEXT_TOKENS
  ) {
    const isAll = least === worstCase.outputTokens;
    const what = isAll
      ? `max_tokens (${least}), which is not lowered`
      : `the shortest answer with room for text (${least} tokens)`;
    return `because of ${what}, as the model may think: switch thinking off, ask for a lower effort, use a cheaper model, or have min_output_tokens set`;
  }
  return rules.shouldClamp
    ? `because of the shortest answer that counts (${least} tokens): use a cheaper model, or have min_output_tokens lowered`
    : `because of max_tokens (${least}): lower it, or use a cheaper model`;
}
