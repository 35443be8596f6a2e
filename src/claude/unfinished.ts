/** What an answer costs that did not end by itself: from above, but no further than the clock allows. */
import type { Terms } from './bound.ts';
import { cost, isCount, type Nanodollars, promptTokens, type Usage, WEB_SEARCH_NANODOLLARS } from './cost.ts';
import type { Model } from './models.ts';
import type { Seen } from './usage.ts';

/** An answer as far as it came. */
export interface Unfinished {
  usage: Usage | undefined;
  seen: Seen;
  /** Models that were stepped in for, or that stepped in, as far as they are known. */
  fallbacks: readonly Model[];
  /** The model that answers last. */
  row: Model;
}

export interface Grant {
  hold: Nanodollars;
  /** The most output tokens that were granted, where one step of one model writes them all. */
  mostOutput: number | undefined;
  terms: Terms;
  /** Whether the upstream stops to write once the connection is closed. */
  cancelStops: boolean;
}

export interface Estimate {
  cost: Nanodollars;
  usage: Usage;
}

/** Two models may count the same text differently by this factor. */
const OTHER_TOKENIZER = 1.35;

/** @returns the tokens that may have been written in a time, by the model's longest seconds. */
function byClock(milliseconds: number, tokensPerSecond: number): number {
  return milliseconds > 0 ? (Math.ceil(milliseconds / 1_000) + 1) * tokensPerSecond : 0;
}

/**
 * Estimates from above what the upstream bills.
 *
 * What was seen is bounded by its characters, and what was not by the time in which it can have been written. Neither
 * counts for more than the hold; only what the upstream itself has reported may be beyond it.
 */
export function costOfUnfinished(
  { usage, seen, fallbacks, row }: Unfinished,
  { hold, mostOutput, terms, cancelStops }: Grant,
): Estimate {
  const unseen = byClock(seen.unseen_ms, terms.tokensPerSecond);
  // Thinking that was shown may be a summary of more.
  const written = seen.said + Math.max(seen.thinking, unseen);
  const output = Math.max(Math.min(written, mostOutput ?? written), tokensIn(usage?.output_tokens));
  const cacheTtl = terms.cache === '1h' ? '1h' : '5m';
  if (!usage || !isCount(usage.input_tokens)) {
    const told: Usage = { input_tokens: terms.promptTokens, output_tokens: output };
    const unlimited = terms.promptCost + output * terms.outputPrice;
    return { cost: isCounted(terms, cancelStops) ? Math.min(hold, unlimited) : hold, usage: told };
  }
  const prompt = promptTokens(usage);
  const carried = seen.carried_tokens + byClock(seen.carried_ms, terms.tokensPerSecond);
  const reread = seen.later_steps * prompt + (seen.later_steps > 0 ? carried : 0);
  const priced: Usage = { ...usage, output_tokens: output };
  const rows = [row, ...fallbacks];
  // Each model that declined has read the prompt as well.
  const declined = fallbacks.length > 0 ? fallbacks.length * Math.ceil(prompt * OTHER_TOKENIZER) : 0;
  const dearest = Math.max(...rows.map((one) => cost(priced, one, { cacheTtl })));
  const searched = Math.max(0, seen.searches - tokensIn(usage.server_tool_use?.web_search_requests));
  const more = Math.ceil(((reread + declined) * terms.inputPrice * geographyOf(usage)) / 10);
  const estimate = dearest + more + searched * WEB_SEARCH_NANODOLLARS;
  const told = cost(usage, row, { cacheTtl });
  return {
    cost: Math.max(told, isCounted(terms, cancelStops) ? Math.min(estimate, hold) : hold),
    usage: {
      ...priced,
      input_tokens: tokensIn(usage.input_tokens) + reread + declined,
      server_tool_use: { ...usage.server_tool_use, web_search_requests: seen.searches },
    },
  };
}

/** Whether what the API did can be told from what came: otherwise it may have come to all that was set aside. */
function isCounted({ steps }: Terms, cancelStops: boolean): boolean {
  return cancelStops && steps !== 'unknown';
}

function geographyOf({ inference_geo }: Usage): number {
  return inference_geo === 'us' ? 11 : 10;
}

function tokensIn(value: unknown): number {
  return isCount(value) ? value : 0;
}
