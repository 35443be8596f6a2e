/** Explains to the caller what helps if a limit is too small for a request. */

import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { TEXT_TOKENS } from '../../claude/pricing/minimal-thinking.ts';
import type { BudgetWindow } from './budget-windows.ts';
import { computeAffordableToolUses, getMinUsefulOutputTokens, splitCostByToolUses } from './cost-range.ts';
import type { LimitRules } from './rules.ts';

/** Tokens of a short question. If the limit does not even pay for these, do not advise to send a shorter one. */
const SHORT_QUESTION = 32;

const TOO_LOW_FOR_ANY_REQUEST =
  'The limit is too low for any request. Use a cheaper model, or ask an admin to raise it.';

/** The remedy if a limit cannot pay for the maximum cost of server tools, and what it does not guarantee. */
export const ESTIMATE_HELPS =
  'ask an admin to set `"served_tools": "estimate"` in the account’s limits (which reserves only what such tools usually read, so a request can cost more, and exceed the limit)';

/** @returns what helps if too little of the limits is left for the uses of a server tool; undefined if nothing does */
export function describeToolUseRemedies(
  maximumCost: MaximumCost,
  rules: LimitRules,
  left: number,
  least: number,
): string | undefined {
  const { uses, input, output, perUse } = splitCostByToolUses(maximumCost, rules, least);
  if (!maximumCost.serverTools || uses * perUse < Math.max(input, output)) return undefined;
  const help = listToolUseRemedies(maximumCost, rules, left, least).join(', or ');
  return help === '' ? undefined : `To reduce the cost of ${maximumCost.serverTools.tool}, ${help}.`;
}

/** @param money what may be spent, in nanodollars */
function listToolUseRemedies(maximumCost: MaximumCost, rules: LimitRules, money: number, least: number): string[] {
  const { serverTools, outputPrice } = maximumCost;
  if (!serverTools) return [];
  const fitting = Math.min(serverTools.uses - 1, computeAffordableToolUses(money, maximumCost, rules, least));
  const isKnown = serverTools.single && fitting > 0;
  const estimated = serverTools.inputCost + least * outputPrice;
  return [
    ...(serverTools.lacksMaxUses ? [`set max_uses${isKnown ? ` to ${fitting} or less` : ''}`] : []),
    ...(isKnown && !serverTools.lacksMaxUses ? [`lower max_uses to ${fitting}`] : []),
    ...(!rules.shouldEstimateServerTools && estimated <= money ? [ESTIMATE_HELPS] : []),
  ];
}

/** @returns sentences that say what helps if a request needs more than the whole smallest limit */
export function explainUnaffordableRequest(
  maximumCost: MaximumCost,
  rules: LimitRules,
  budgetWindows: readonly BudgetWindow[],
  least: number,
): string {
  const { serverTools, unboundedReason } = maximumCost;
  const limit = Math.min(...budgetWindows.map(({ limit: most }) => most));
  const { uses, input, output, perUse } = splitCostByToolUses(maximumCost, rules, least);
  // Advise to reduce the largest part of the cost: tool uses, input or output.
  if (serverTools && uses * perUse >= Math.max(input, output)) {
    const help = listToolUseRemedies(maximumCost, rules, limit, least);
    return help.length > 0
      ? `To reduce the cost of ${serverTools.tool}, ${help.join(', or ')}.`
      : `Remove the tool ${serverTools.tool}, or ask an admin to raise the limit.`;
  }
  // The cost of the input of a short question.
  const shortInput = input * Math.min(1, SHORT_QUESTION / maximumCost.inputTokens);
  if (input >= output) {
    if (unboundedReason !== undefined)
      return `The size of ${unboundedReason} is not known. Send its content in the request.`;
    if (output + shortInput <= limit) return 'Send a shorter request, or use a cheaper model.';
    if (output <= limit) return TOO_LOW_FOR_ANY_REQUEST;
  }
  if (
    rules.canLowerMaxTokens &&
    rules.minOutputTokens === undefined &&
    getMinUsefulOutputTokens(maximumCost, rules) > TEXT_TOKENS
  ) {
    const isAll = least === maximumCost.outputTokens;
    const what = isAll ? `max_tokens (${least}) cannot be lowered` : `A response needs at least ${least} tokens`;
    return `${what}, because the model can think. Disable thinking, set a lower effort, use a cheaper model, or ask an admin to set min_output_tokens.`;
  }
  if (rules.canLowerMaxTokens)
    return `A useful response needs at least ${least} tokens. Use a cheaper model, or ask an admin to lower min_output_tokens.`;
  return shortInput + maximumCost.outputPrice <= limit
    ? `Lower max_tokens (${least}), or use a cheaper model.`
    : TOO_LOW_FOR_ANY_REQUEST;
}
