import type { LogLine } from '../../kit/http/log.ts';
import type { Model, TokenPrices } from '../models/models.ts';

/** Integer billionths of a US dollar: a token's price is a whole number of them. */
export type Nanodollars = number;

/** $0.01 for each web search the upstream ran. */
export const WEB_SEARCH_NANODOLLARS: Nanodollars = 10_000_000;

/** Token counts by kind, as `usage` and each of its `iterations` report them. Absent or null counts as 0. */
export interface TokenCounts {
  input_tokens?: number | null | undefined;
  output_tokens?: number | null | undefined;
  cache_read_input_tokens?: number | null | undefined;
  cache_creation_input_tokens?: number | null | undefined;
  cache_creation?:
    | { ephemeral_5m_input_tokens?: number | null | undefined; ephemeral_1h_input_tokens?: number | null | undefined }
    | null
    | undefined;
}

/** Anthropic's `usage`, as far as it decides what a request costs or says what it did. */
export interface Usage extends TokenCounts {
  output_tokens_details?: { thinking_tokens?: number | null | undefined } | null | undefined;
  server_tool_use?:
    | { web_search_requests?: number | null | undefined; web_fetch_requests?: number | null | undefined }
    | null
    | undefined;
  inference_geo?: string | null | undefined;
  service_tier?: string | null | undefined;
  speed?: string | null | undefined;
  iterations?: Iterations | null | undefined;
}

/** One sampling of one model: a step of a loop of served tools, an attempt of a fallback, or a request beside them. */
type Iterations = readonly (TokenCounts & {
  type: string;
  model?: string | null | undefined;
  speed?: string | null | undefined;
})[];

/** Types of iterations that the API bills in addition to the totals of `usage`. */
const BILLED_SEPARATELY: ReadonlySet<string> = new Set(['compaction', 'advisor_message']);
/** Types of iterations whose sum is `usage` itself, except where a fallback model has answered. */
const SAMPLING_TYPES: ReadonlySet<string> = new Set(['message', 'fallback_message']);

export interface CostOptions {
  /** Whether the request was an item of a batch: half price on tokens. */
  batch?: boolean;
  /** Finds the row of an iteration that ran on another model; without it the request's own row is used. */
  priceOf?: (model: string) => Model;
  /** The model that was asked for. Iterations without a model ran on it. Default: the one that answered. */
  asked?: Model | undefined;
  /** The longest cache lifetime that was asked for. It prices cache writes without one. Default: five minutes. */
  cacheTtl?: '5m' | '1h' | undefined;
}

/**
 * Prices a request by what the upstream reported.
 *
 * @param usage the API's final `usage`
 * @param model the row of the model that answered
 * @returns integer nanodollars, rounded up once at the end
 */
export function computeCost(usage: Usage, model: Model, options: CostOptions = {}): Nanodollars {
  const { priceOf, asked = model, cacheTtl = '5m' } = options;
  const rowOf = (name: string | null | undefined, otherwise: Model) => (name && priceOf ? priceOf(name) : otherwise);
  let tokens = 0;
  const steps = findPricedSteps(usage, model);
  if (steps) {
    for (const step of steps) {
      const row = rowOf(step.model, asked);
      tokens += computeTokenCost(step, selectPrices(step, row, step.speed ?? usage.speed), cacheTtl);
    }
  } else tokens += computeTokenCost(usage, selectPrices(usage, model, usage.speed), cacheTtl);
  for (const step of iterationsOf(usage, BILLED_SEPARATELY)) {
    tokens += computeTokenCost(step, selectPrices(step, rowOf(step.model, model), step.speed ?? usage.speed), cacheTtl);
  }
  // Integers until the last step: factors of 11/10 and 1/2 are exact only as a fraction.
  const geography = usage.inference_geo === 'us' ? 11 : 10;
  const divisor = options.batch ? 20 : 10;
  const searches = toCount(usage.server_tool_use?.web_search_requests) * WEB_SEARCH_NANODOLLARS;
  return Math.ceil((tokens * geography) / divisor) + searches;
}

/**
 * Prices what caching has saved: the same request, with all of its prompt as plain input, minus this one.
 *
 * @returns integer nanodollars; negative if writing to the cache has cost more than reading has saved
 */
export function computeSavings(usage: Usage, model: Model, options: CostOptions = {}): Nanodollars {
  const uncached = {
    ...usage,
    ...toUncached(usage),
    iterations: usage.iterations && iterationsOf(usage).map((step) => ({ ...step, ...toUncached(step) })),
  };
  return computeCost(uncached, model, options) - computeCost(usage, model, options);
}

function toUncached(counts: TokenCounts): TokenCounts {
  const input_tokens = promptTokensOf(counts);
  return { input_tokens, cache_read_input_tokens: 0, cache_creation_input_tokens: 0, cache_creation: null };
}

/** @returns whether a fallback model has answered, and the iterations say what each model has used. */
export function hasFallback(usage: Usage): boolean {
  const served = iterationsOf(usage, SAMPLING_TYPES).filter(({ type }) => type === 'fallback_message');
  const [last] = served.slice(-1);
  // The totals are those of the model that answered. Its own entry must not report less than they do.
  return last !== undefined && outputTokensOf(last) >= outputTokensOf(usage) && promptTokensOf(last) > 0;
}

/**
 * @returns the iterations, if each must be priced by itself: by its own model if a fallback has answered, by its own prompt
 *   if long prompts are dearer. Undefined if the totals decide
 */
function findPricedSteps(usage: Usage, { prices }: Model): Iterations | undefined {
  const steps = iterationsOf(usage, SAMPLING_TYPES);
  if (hasFallback(usage)) return steps;
  if (promptTokensOf(usage) > 0 && (!prices.long_prompt || steps.length < 2)) return undefined;
  return areComplete(steps, usage) ? steps : undefined;
}

/** @returns whether iterations tell no less than the totals do. */
function areComplete(steps: Iterations, usage: Usage): boolean {
  const sum = (kind: (counts: TokenCounts) => number) => steps.reduce((total, step) => total + kind(step), 0);
  return sum(promptTokensOf) >= promptTokensOf(usage) && sum(outputTokensOf) >= outputTokensOf(usage);
}

/** @returns whether a usage tells a prompt. No prompt has 0 tokens, unless its iterations are priced in place of the totals. */
export function hasPrompt(usage: Usage): boolean {
  if (promptTokensOf(usage) > 0) return true;
  const steps = iterationsOf(usage, SAMPLING_TYPES);
  return (
    areComplete(steps, usage) &&
    [...steps, ...iterationsOf(usage, BILLED_SEPARATELY)].some((step) => promptTokensOf(step) > 0)
  );
}

/** @returns every token of the prompt, cached or not. This decides the price tier. */
export function promptTokensOf(usage: TokenCounts): number {
  return toCount(usage.input_tokens) + toCount(usage.cache_read_input_tokens) + splitCacheWrites(usage).total;
}

/** @returns token counts in the form of the log. */
export function toLoggedTokens(usage: TokenCounts): NonNullable<LogLine['tokens']> {
  return {
    input: usage.input_tokens ?? 0,
    output: usage.output_tokens ?? 0,
    cache_read: usage.cache_read_input_tokens ?? 0,
    cache_write: usage.cache_creation_input_tokens ?? 0,
  };
}

/** @returns the price of one token in nanodollars, from dollars per million tokens (exact for three decimals). */
export function nanodollarsPerToken(usdPerMillion: number): Nanodollars {
  return Math.round(usdPerMillion * 1_000);
}

/** @returns nanodollars as US dollars, a number with at most nine decimals. */
export function toUsd(nanodollars: Nanodollars): number {
  return nanodollars / 1_000_000_000;
}

/** @returns US dollars as integer nanodollars. */
export function fromUsd(usd: number): Nanodollars {
  return Math.round(usd * 1_000_000_000);
}

/** @returns what a prompt of this length costs as input of each kind, in US dollars. */
export function computeInputCosts(tokens: number, model: Model) {
  const price = selectPrices({ input_tokens: tokens }, model, undefined);
  const usd = (usdPerMillion: number) => toUsd(tokens * nanodollarsPerToken(usdPerMillion));
  return {
    input: usd(price.input),
    cache_write_5m: usd(price.cache_write_5m),
    cache_write_1h: usd(price.cache_write_1h),
    cache_read: usd(price.cache_read),
  };
}

function iterationsOf({ iterations }: { iterations?: unknown }, types?: ReadonlySet<string>): Iterations {
  return Array.isArray(iterations) ? iterations.filter((step) => step && (types?.has(step.type) ?? true)) : [];
}

function outputTokensOf(usage: TokenCounts): number {
  return toCount(usage.output_tokens);
}

function selectPrices(usage: TokenCounts, { prices }: Model, speed: string | null | undefined): TokenPrices {
  if (speed === 'fast' && prices.fast) return prices.fast;
  const long = prices.long_prompt;
  return long && promptTokensOf(usage) > long.above_tokens ? long : prices;
}

function computeTokenCost(usage: TokenCounts, price: TokenPrices, cacheTtl: '5m' | '1h'): Nanodollars {
  const writes = splitCacheWrites(usage, cacheTtl);
  return (
    toCount(usage.input_tokens) * nanodollarsPerToken(price.input) +
    toCount(usage.output_tokens) * nanodollarsPerToken(price.output) +
    toCount(usage.cache_read_input_tokens) * nanodollarsPerToken(price.cache_read) +
    writes.fiveMinutes * nanodollarsPerToken(price.cache_write_5m) +
    writes.oneHour * nanodollarsPerToken(price.cache_write_1h)
  );
}

/**
 * Splits cache writes by lifetime. Only `message_start` has the split. Later writes, in a loop of served tools, are priced at
 * the longest lifetime that was asked for.
 */
export function splitCacheWrites(
  usage: TokenCounts,
  cacheTtl: '5m' | '1h' = '5m',
): { fiveMinutes: number; oneHour: number; total: number } {
  const fiveMinutes = toCount(usage.cache_creation?.ephemeral_5m_input_tokens);
  const oneHour = toCount(usage.cache_creation?.ephemeral_1h_input_tokens);
  const total = Math.max(toCount(usage.cache_creation_input_tokens), fiveMinutes + oneHour);
  const untold = total - fiveMinutes - oneHour;
  return cacheTtl === '1h'
    ? { fiveMinutes, oneHour: oneHour + untold, total }
    : { fiveMinutes: fiveMinutes + untold, oneHour, total };
}

/** A larger number is no count of a request's tokens. */
const MAX_TOKEN_COUNT = 1e8;

/** @returns whether a value is a count of tokens or uses: whole, not negative, not beyond what any request has. */
export function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_TOKEN_COUNT;
}

/** @returns a count unchanged, and 0 for any other value: an odd report must not become a price. */
export function toCount(value: unknown): number {
  return isCount(value) ? value : 0;
}
