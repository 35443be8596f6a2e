import type { Model, TokenPrices } from './models.ts';

/** Integer billionths of a US dollar: a token's price is a whole number of them. */
export type Nanodollars = number;

/** $0.01 for each web search the upstream ran. */
export const WEB_SEARCH_NANODOLLARS: Nanodollars = 10_000_000;

/** Token counts by kind, as `usage` and each of its `iterations` report them; what is absent or null counts as 0. */
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

type Iterations = readonly (TokenCounts & { type: string; model?: string | null | undefined })[];

/** The iterations that the API bills beside the totals of `usage`. */
const UNCOUNTED: ReadonlySet<string> = new Set(['compaction', 'advisor_message']);

export interface CostOptions {
  /** Whether the request was an item of a batch: half price on tokens. */
  batch?: boolean;
  /** Finds the row of an iteration that ran on another model; without it the request's own row is used. */
  priceOf?: (model: string) => Model;
}

/**
 * Prices a request by what the upstream reported.
 *
 * @param usage the API's final `usage`
 * @param model the row of the model that answered
 * @returns integer nanodollars, rounded up once at the end
 */
export function cost(usage: Usage, model: Model, options: CostOptions = {}): Nanodollars {
  let tokens = tokenCost(usage, pricesFor(usage, model, usage.speed));
  for (const step of uncountedSteps(usage.iterations)) {
    const row = step.model && options.priceOf ? options.priceOf(step.model) : model;
    tokens += tokenCost(step, pricesFor(step, row, usage.speed));
  }
  // Integers until the last step: eleven tenths and one half are exact only as a fraction.
  const geography = usage.inference_geo === 'us' ? 11 : 10;
  const divisor = options.batch || usage.service_tier === 'batch' ? 20 : 10;
  const searches = count(usage.server_tool_use?.web_search_requests) * WEB_SEARCH_NANODOLLARS;
  return Math.ceil((tokens * geography) / divisor) + searches;
}

/** @returns every token of the prompt, cached or not: what decides the price tier. */
export function promptTokens(usage: TokenCounts): number {
  return count(usage.input_tokens) + count(usage.cache_read_input_tokens) + cacheWrites(usage).total;
}

/** @returns the dollars a price table row means for one token, in nanodollars (exact for three decimals). */
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
export function inputCosts(tokens: number, model: Model) {
  const price = pricesFor({ input_tokens: tokens }, model, undefined);
  const usd = (usdPerMillion: number) => toUsd(tokens * nanodollarsPerToken(usdPerMillion));
  return {
    input: usd(price.input),
    cache_write_5m: usd(price.cache_write_5m),
    cache_write_1h: usd(price.cache_write_1h),
    cache_read: usd(price.cache_read),
  };
}

function uncountedSteps(iterations: unknown): Iterations {
  return Array.isArray(iterations) ? iterations.filter((step) => UNCOUNTED.has(step?.type)) : [];
}

function pricesFor(usage: TokenCounts, { prices }: Model, speed: string | null | undefined): TokenPrices {
  if (speed === 'fast' && prices.fast) return prices.fast;
  const long = prices.long_prompt;
  return long && promptTokens(usage) > long.above_tokens ? long : prices;
}

function tokenCost(usage: TokenCounts, price: TokenPrices): Nanodollars {
  const writes = cacheWrites(usage);
  return (
    count(usage.input_tokens) * nanodollarsPerToken(price.input) +
    count(usage.output_tokens) * nanodollarsPerToken(price.output) +
    count(usage.cache_read_input_tokens) * nanodollarsPerToken(price.cache_read) +
    writes.fiveMinutes * nanodollarsPerToken(price.cache_write_5m) +
    writes.oneHour * nanodollarsPerToken(price.cache_write_1h)
  );
}

/** The split stands only in `message_start`; what it leaves unsaid is priced as the shorter lifetime, the API's default. */
function cacheWrites(usage: TokenCounts): { fiveMinutes: number; oneHour: number; total: number } {
  const oneHour = count(usage.cache_creation?.ephemeral_1h_input_tokens);
  const named = count(usage.cache_creation?.ephemeral_5m_input_tokens) + oneHour;
  const total = Math.max(count(usage.cache_creation_input_tokens), named);
  return { fiveMinutes: total - oneHour, oneHour, total };
}

/** The upstream's word decides about money: what is no count, or less than nothing, counts as 0. */
function count(value: unknown): number {
  return typeof value === 'number' && value > 0 && Number.isFinite(value) ? Math.ceil(value) : 0;
}
