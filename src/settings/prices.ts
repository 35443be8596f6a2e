import * as z from '../http/zod.ts';

/** US dollars per million tokens: with three decimals, a token's price is a number of nanodollars without a fraction. */
const pricePerMillion = z.number().check(z.gte(0), z.multipleOf(0.001, 'must have at most three decimals'));
const priceOverrides = z.strictObject({
  input: pricePerMillion,
  output: pricePerMillion,
  cache_write_5m: pricePerMillion,
  cache_write_1h: pricePerMillion,
  cache_read: pricePerMillion,
});
const modelOverride = z.strictObject({
  display_name: z.optional(z.string()),
  aliases: z.optional(z.array(z.string())),
  max_input_tokens: z.optional(z.int().check(z.gte(1))),
  max_tokens: z.optional(z.int().check(z.gte(1))),
  minimum_cacheable_tokens: z.optional(z.int().check(z.gte(0))),
  tokens_per_second: z.optional(z.int().check(z.gte(1))),
  fast_tokens_per_second: z.optional(z.int().check(z.gte(1))),
  retires_at: z.optional(z.nullable(z.iso.datetime())),
  replacement: z.optional(z.nullable(z.string())),
  prices: z.optional(
    z.extend(z.partial(priceOverrides), {
      long_prompt: z.optional(z.extend(priceOverrides, { above_tokens: z.int().check(z.gte(0)) })),
      fast: z.optional(priceOverrides),
    }),
  ),
});

/** The form of the setting PRICES: models by their id, each with what differs from the built-in table or adds to it. */
export const priceTable = z.record(z.string(), modelOverride);

/** Rows that override or extend the model table, by model id. Prices are in US dollars per million tokens. */
export type Prices = z.input<typeof priceTable>;
