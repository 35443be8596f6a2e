/** By what admission decides, and by what an answer is settled that did not end by itself. */
import type { Nanodollars } from './cost.ts';

/** The worst case: the most that a request can cost. Plain JSON, since it is passed to the account's object. */
export interface WorstCase {
  /** Input tokens of all steps and attempts together. */
  inputTokens: number;
  /** What does not depend on `max_tokens`: input at its dearest, searches, sub-requests to other models. */
  inputCost: Nanodollars;
  /** `max_tokens` as asked. */
  outputTokens: number;
  /** What each unit of `max_tokens` can cost: the output price, once for each step and attempt. */
  outputPrice: Nanodollars;
  /** `max_tokens` must not be lowered below this: one more than thinking's budget. */
  leastOutput: number;
  /** False where the context window had to be held, because nothing in the body bounds the input. */
  bounded: boolean;
  /** Whether counting the tokens could make the worst case cheaper. */
  countable: boolean;
  /** Whether every model that it names is in the price table. */
  known: boolean;
  /** Every model that may be billed, each by all of its names; the API's own choice of fallbacks is `default`. */
  models: string[][];
  /** Where the API itself calls tools: what its steps can cost. */
  served?: ServedWorstCase;
  /** Why the input is not bounded by the body, in words for the caller. */
  because?: string;
}

/** What a loop of the API's own tools can cost: for limits that estimate it, and for who asks what would fit. */
export interface ServedWorstCase {
  /** The tool that is named in a refusal. */
  tool: string;
  /** Whether lowering its `max_uses` makes the request cheaper: it is the only one. */
  single: boolean;
  uses: number;
  /** These replace the members of the worst case if an account's limits say `served_tools: "estimate"`. */
  inputTokens: number;
  inputCost: Nanodollars;
  /** What each use adds to `inputCost`, exactly and estimated; and to `outputPrice`. */
  useCost: Nanodollars;
  estimatedUseCost: Nanodollars;
  useOutputPrice: Nanodollars;
}

/** What an answer that did not end by itself is settled by. */
export interface Terms {
  /** The first prompt, from above: in tokens, and in nanodollars at its dearest. */
  promptTokens: number;
  promptCost: Nanodollars;
  /** What a token of a later prompt costs, at its dearest; in nanodollars. The geography is told by the answer. */
  inputPrice: Nanodollars;
  /** What a token of output costs, at its dearest, where the answer tells nothing. */
  outputPrice: Nanodollars;
  /** The most tokens that the model writes in a second. */
  tokensPerSecond: number;
  /** The longest cache lifetime that was asked for. */
  cache: 'none' | '5m' | '1h';
  /** Whether the API itself may call tools, so that there are several steps. */
  steps: 'one' | 'several';
  /** Whether the API may summarize the prompt first, which is billed beside the answer. */
  compacts: boolean;
  /** What a token of an advisor costs, at its dearest; absent without one. */
  advisor?: { inputPrice: Nanodollars; outputPrice: Nanodollars };
  /** Whether the answer streams. */
  streams: boolean;
}
