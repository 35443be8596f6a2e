/** The terms by which admission decides, and by which an interrupted response is settled. */
import type { Nanodollars } from './cost.ts';

/** The maximum cost of a request. Plain JSON, since it is passed to the account's object. */
export interface MaximumCost {
  /** Input tokens of all steps and attempts, added up. */
  inputTokens: number;
  /** The part of the cost that does not depend on `max_tokens`: input at its dearest, searches, requests to other models. */
  inputCost: Nanodollars;
  /** `max_tokens` as asked. */
  outputTokens: number;
  /** The maximum cost of a token of `max_tokens`: the output price, once for each step and attempt. */
  outputPrice: Nanodollars;
  /** The least that `max_tokens` may be lowered to: one more than thinking's budget. */
  leastOutput: number;
  /** The fewest `max_tokens` that leave tokens for text after thinking; absent if nothing is known about thinking. */
  usefulOutput?: number;
  /** False if nothing in the body limits the input, so that the whole context window is held. */
  bounded: boolean;
  /** Whether counting the tokens could lower the maximum cost. */
  countable: boolean;
  /** Whether every model that the request names is in the price table. */
  isPriced: boolean;
  /** Every model that may be billed, each with all of its names. `default` means that the API chooses the fallbacks. */
  models: string[][];
  /** The maximum cost of the steps, if the API itself calls tools. */
  serverTools?: ServerToolsMaximumCost;
  /** Why nothing in the body limits the input, in words for the caller. */
  unboundedReason?: string;
}

/**
 * The maximum cost of a loop of the API's own tools. Used by limits that estimate it, and by rejections that suggest a remedy.
 */
export interface ServerToolsMaximumCost {
  /** The tool that is named in a rejection. */
  tool: string;
  /** Whether it is the only served tool, so that a lower `max_uses` makes the request cheaper. */
  single: boolean;
  /** Whether a tool that takes `max_uses` has none. */
  lacksMaxUses: boolean;
  uses: number;
  /** The fewest uses to which `max_uses` can limit it: one of each tool that lacks it. Absent if another tool is unlimited. */
  leastUses?: number;
  /** `inputTokens` and `inputCost` replace those of the maximum cost where limits say `served_tools: "estimate"`. */
  inputTokens: number;
  inputCost: Nanodollars;
  /** The amount that each use adds to `inputCost`, exact and estimated, and to `outputPrice`. */
  useCost: Nanodollars;
  estimatedUseCost: Nanodollars;
  useOutputPrice: Nanodollars;
}

/** The limits of what a loop of the API's own tools may do in a silence. */
interface ServerToolsTerms {
  /** The most uses of all of its tools together, and the most web searches. */
  uses: number;
  searches: number;
  /** The most tokens that a prompt can have. */
  window: number;
  /** The most tokens that a result can add to the prompt; absent where no tool limits it. */
  mostResult?: number;
}

/** Other models that the API may ask beside the one that answers: each time one reads the prompt. */
export interface SecondModelPrices {
  /** The most that a token of one of them can cost, in nanodollars. */
  inputPrice: Nanodollars;
  outputPrice: Nanodollars;
  /** The most that a token costs that is read from the cache. */
  cachePrice: Nanodollars;
  /** How often one may begin. */
  times?: number;
}

/** The terms by which an interrupted response is settled. */
export interface SettlementTerms {
  /** The most that the first prompt can be: in tokens, and in nanodollars. */
  promptTokens: number;
  promptCost: Nanodollars;
  /** The least tokens that the prompt can have, whatever a gateway counts. */
  leastPrompt: number;
  /** The maximum cost of a token of a later prompt, in nanodollars. The response contains the geography. */
  inputPrice: Nanodollars;
  /** The most that a token of output can cost, in nanodollars, if the answer does not say the price. */
  outputPrice: Nanodollars;
  /** The most tokens that the model writes in a second. */
  tokensPerSecond: number;
  /** Whether it may write at `speed: "fast"`. */
  isFast: boolean;
  /** The longest cache lifetime that was asked for. */
  cache: 'none' | '5m' | '1h';
  /** Whether the API itself may call tools, so that there are several steps. */
  steps: 'one' | 'several';
  /** Whether the API may summarize the prompt first, which is billed beside the answer. */
  compacts: boolean;
  /** The maximum cost of steps that were not observed; absent if the API itself calls no tools. */
  serverTools?: ServerToolsTerms;
  /** The advisors; absent without one. */
  advisor?: SecondModelPrices;
  /** The models that may step in when one declines; absent without one. */
  fallbacks?: SecondModelPrices;
  streams: boolean;
}
