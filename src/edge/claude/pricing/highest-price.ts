import type { Model, ModelTable, TokenPrices } from '../models/models.ts';
import { MAX_MODEL_NAME_CHARACTERS } from '../models/models.ts';
import { type Nanodollars, toNanodollarsPerToken } from './cost.ts';
import type { PromptFeatures } from './prompt-features.ts';

/** @returns the rows that a model may be billed by: its own, or every row if the table does not have it. */
export function findBillableModelRows(models: ModelTable, name: unknown): readonly Model[] {
  const row = findOwnModelRow(models, name);
  return row ? [row] : models.rows;
}

/** @returns a model's own row; undefined where the table has none. */
export function findOwnModelRow(models: ModelTable, name: unknown): Model | undefined {
  if (typeof name !== 'string') return undefined;
  const { row, isListed } = models.findPriceRow(name);
  return isListed ? row : undefined;
}

/** @returns every name by which limits may allow a model. */
export function listModelNamesForLimits(models: ModelTable, name: unknown, requested?: string): string[] {
  if (typeof name !== 'string') return ['default'];
  const row = findOwnModelRow(models, name);
  const names = [...(requested === undefined ? [] : [requested]), name, ...(row ? [row.id, ...row.aliases] : [])];
  // Cut the names, which callers choose. Each stays one character longer than any name in a configured limit, so a cut name
  // matches none.
  return [...new Set(names.map((one) => one.slice(0, MAX_MODEL_NAME_CHARACTERS + 1)))];
}

/** @returns the most tokens that one of these models can write. */
export function getMaxOutputTokens(rows: readonly Model[]): number {
  return Math.max(...rows.map((row) => row.max_tokens));
}

/**
 * Finds the most that a token can cost.
 *
 * @param geography a factor in tenths, since a workspace may set one that the request does not name
 * @returns the most expensive token of input, of output, and of what is read from the cache, in nanodollars
 */
export function findHighestPrice(
  rows: readonly Model[],
  promptTokens: number,
  fast: boolean,
  cache: PromptFeatures['cache'],
  geography: number,
): { input: Nanodollars; output: Nanodollars; cached: Nanodollars } {
  let input = 0;
  let cached = 0;
  let output = 0;
  const raiseToPrice = (price: TokenPrices | undefined) => {
    if (!price) return;
    input = Math.max(input, price.input, price.cache_read);
    cached = Math.max(cached, price.cache_read);
    if (cache !== 'none') input = Math.max(input, price.cache_write_5m);
    if (cache === '1h') input = Math.max(input, price.cache_write_1h);
    output = Math.max(output, price.output);
  };
  for (const { prices } of rows) {
    raiseToPrice(prices);
    if (prices.long_prompt && promptTokens > prices.long_prompt.above_tokens) raiseToPrice(prices.long_prompt);
    if (fast) raiseToPrice(prices.fast);
  }
  return {
    input: Math.ceil((toNanodollarsPerToken(input) * geography) / 10),
    output: Math.ceil((toNanodollarsPerToken(output) * geography) / 10),
    cached: Math.ceil((toNanodollarsPerToken(cached) * geography) / 10),
  };
}
