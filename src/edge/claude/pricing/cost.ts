import type { RequestLogLine } from '../../kit/http/log.ts';
import type { Model, TokenPrices } from '../models/models.ts';

/** Integer billionths of a US dollar: a token's price is a whole number of them. */
export type Nanodollars = number;

/**
 * $0.01 for each web search that the upstream ran ($10 per 1,000 searches):
 * https://docs.anthropic.com/en/docs/build-with-claude/tool-use/web-search-tool
 */
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

/** The fields of Anthropic's `usage` that determine or explain the cost of a request. */
export interface Usage extends TokenCounts {
  output_tokens_details?: { thinking_tokens?: number | null | undefined } | null | undefined;
  server_tool_use?:
    | { web_search_requests?: number | null | undefined; web_fetch_requests?: number | null | undefined }
    | null
    | undefined;
  inference_geo?: string | null | undefined;
  service_tier?: string | null | undefined;
  speed?: string | null | undefined;
  iterations?: UsageIterations | null | undefined;
}

/** One sampling of one model: a step of a loop of served tools, an attempt of a fallback, or a request beside them. */
type UsageIterations = readonly (TokenCounts & {
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
  const findModelRow = (name: string | null | undefined, otherwise: Model) =>
    name && priceOf ? priceOf(name) : otherwise;
  let tokens = 0;
  const steps = findPricedSteps(usage, model);
  if (steps) {
    for (const step of steps) {
      const row = findModelRow(step.model, asked);
      tokens += computeTokenCost(step, selectPrices(step, row, step.speed ?? usage.speed), cacheTtl);
    }
  } else tokens += computeTokenCost(usage, selectPrices(usage, model, usage.speed), cacheTtl);
  for (const step of getIterations(usage, BILLED_SEPARATELY)) {
    tokens += computeTokenCost(
      step,
      selectPrices(step, findModelRow(step.model, model), step.speed ?? usage.speed),
      cacheTtl,
    );
  }
  // Stay in integers until the last step: the factors 11/10 and 1/2 are not exact as floating-point numbers.
  const geography = usage.inference_geo === 'us' ? 11 : 10;
  const divisor = options.batch ? 20 : 10;
  const searches = toValidCountOrZero(usage.server_tool_use?.web_search_requests) * WEB_SEARCH_NANODOLLARS;
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
    iterations: usage.iterations && getIterations(usage).map((step) => ({ ...step, ...toUncached(step) })),
  };
  return computeCost(uncached, model, options) - computeCost(usage, model, options);
}

function toUncached(counts: TokenCounts): TokenCounts {
  const input_tokens = countPromptTokens(counts);
  return { input_tokens, cache_read_input_tokens: 0, cache_creation_input_tokens: 0, cache_creation: null };
}

/** @returns whether a fallback model has answered, and the iterations say what each model has used. */
export function hasFallbackUsage(usage: Usage): boolean {
  const served = getIterations(usage, SAMPLING_TYPES).filter(({ type }) => type === 'fallback_message');
  const [last] = served.slice(-1);
  // After a fallback, the totals of `usage` are those of the model that answered, which is the last entry. If that entry
  // reports less than the totals, the list is incomplete, so do not price by it. See
  // https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback
  return last !== undefined && countOutputTokens(last) >= countOutputTokens(usage) && countPromptTokens(last) > 0;
}

/**
 * @returns the iterations, if each must be priced by itself: by its own model if a fallback has answered, by its own speed
 *   if that is not the speed of the totals, by its own prompt if long prompts cost more. Undefined if the totals decide
 */
function findPricedSteps(usage: Usage, { prices }: Model): UsageIterations | undefined {
  const steps = getIterations(usage, SAMPLING_TYPES);
  if (hasFallbackUsage(usage)) return steps;
  const hasOtherSpeed = steps.some(({ speed }) => typeof speed === 'string' && speed !== usage.speed);
  const hasOwnPrices = hasOtherSpeed || (prices.long_prompt !== undefined && steps.length > 1);
  if (countPromptTokens(usage) > 0 && !hasOwnPrices) return undefined;
  return areIterationsComplete(steps, usage) ? steps : undefined;
}

/** @returns whether the iterations report at least as much as the totals. */
function areIterationsComplete(steps: UsageIterations, usage: Usage): boolean {
  const sumIterations = (kind: (counts: TokenCounts) => number) => steps.reduce((total, step) => total + kind(step), 0);
  return (
    sumIterations(countPromptTokens) >= countPromptTokens(usage) &&
    sumIterations(countOutputTokens) >= countOutputTokens(usage)
  );
}

/**
 * @returns whether a usage reports the tokens of the prompt. No prompt has 0 tokens, unless its iterations are priced in place
 * of the totals.
 */
export function hasPromptTokens(usage: Usage): boolean {
  if (countPromptTokens(usage) > 0) return true;
  const steps = getIterations(usage, SAMPLING_TYPES);
  return (
    areIterationsComplete(steps, usage) &&
    [...steps, ...getIterations(usage, BILLED_SEPARATELY)].some((step) => countPromptTokens(step) > 0)
  );
}

/** @returns every token of the prompt, cached or not. This decides the price tier. */
export function countPromptTokens(usage: TokenCounts): number {
  return (
    toValidCountOrZero(usage.input_tokens) +
    toValidCountOrZero(usage.cache_read_input_tokens) +
    splitCacheWrites(usage).total
  );
}

/** @returns token counts in the form of the log. */
export function toLoggedTokens(usage: TokenCounts): NonNullable<RequestLogLine['tokens']> {
  return {
    input: usage.input_tokens ?? 0,
    output: usage.output_tokens ?? 0,
    cache_read: usage.cache_read_input_tokens ?? 0,
    cache_write: usage.cache_creation_input_tokens ?? 0,
  };
}

/** @returns the price of one token in nanodollars, from dollars per million tokens (exact for three decimals). */
export function toNanodollarsPerToken(usdPerMillion: number): Nanodollars {
  return Math.round(usdPerMillion * 1_000);
}

/** @returns nanodollars as US dollars, a number with at most nine decimals. */
export function toUsd(nanodollars: Nanodollars): number {
  return nanodollars / 1_000_000_000;
}

/** @returns US dollars as integer nanodollars. */
export function usdToNanodollars(usd: number): Nanodollars {
  return Math.round(usd * 1_000_000_000);
}

/** @returns what a prompt of this length costs as input of each kind, in US dollars. */
export function computeInputCosts(tokens: number, model: Model) {
  const price = selectPrices({ input_tokens: tokens }, model, undefined);
  const toUsdCost = (usdPerMillion: number) => toUsd(tokens * toNanodollarsPerToken(usdPerMillion));
  return {
    input: toUsdCost(price.input),
    cache_write_5m: toUsdCost(price.cache_write_5m),
    cache_write_1h: toUsdCost(price.cache_write_1h),
    cache_read: toUsdCost(price.cache_read),
  };
}

function getIterations({ iterations }: { iterations?: unknown }, types?: ReadonlySet<string>): UsageIterations {
  return Array.isArray(iterations) ? iterations.filter((step) => step && (types?.has(step.type) ?? true)) : [];
}

function countOutputTokens(usage: TokenCounts): number {
  return toValidCountOrZero(usage.output_tokens);
}

function selectPrices(usage: TokenCounts, { prices }: Model, speed: string | null | undefined): TokenPrices {
  if (speed === 'fast' && prices.fast) return prices.fast;
  const long = prices.long_prompt;
  return long && countPromptTokens(usage) > long.above_tokens ? long : prices;
}

function computeTokenCost(usage: TokenCounts, price: TokenPrices, cacheTtl: '5m' | '1h'): Nanodollars {
  const writes = splitCacheWrites(usage, cacheTtl);
  return (
    toValidCountOrZero(usage.input_tokens) * toNanodollarsPerToken(price.input) +
    toValidCountOrZero(usage.output_tokens) * toNanodollarsPerToken(price.output) +
    toValidCountOrZero(usage.cache_read_input_tokens) * toNanodollarsPerToken(price.cache_read) +
    writes.fiveMinutes * toNanodollarsPerToken(price.cache_write_5m) +
    writes.oneHour * toNanodollarsPerToken(price.cache_write_1h)
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
  const fiveMinutes = toValidCountOrZero(usage.cache_creation?.ephemeral_5m_input_tokens);
  const oneHour = toValidCountOrZero(usage.cache_creation?.ephemeral_1h_input_tokens);
  const total = Math.max(toValidCountOrZero(usage.cache_creation_input_tokens), fiveMinutes + oneHour);
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
export function toValidCountOrZero(value: unknown): number {
  return isCount(value) ? value : 0;
}
