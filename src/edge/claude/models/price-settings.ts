import * as z from '../../kit/http/zod.ts';
import { EFFORTS, MODEL_LINES, REJECTABLE_PARAMETERS, THINKING_DEFAULTS, THINKING_TYPES } from './models.ts';

/** US dollars per million tokens. With at most three decimals, a token's price is a whole number of nanodollars. */
const pricePerMillion = z.number().check(
  z.gte(0),
  z.refine((price) => Math.round(price * 1_000) / 1_000 === price, 'must have at most three decimals'),
);
/** @returns the members of a table's prices, each of the same form. */
export const createPricesSchema = <T extends z.ZodMiniType>(price: T) => ({
  input: price,
  output: price,
  cache_write_5m: price,
  cache_write_1h: price,
  cache_read: price,
});
const allPrices = createPricesSchema(pricePerMillion);
const retiresAt = z
  .string()
  .check(
    z.refine(
      (text) => text.endsWith('Z') && !Number.isNaN(Date.parse(text)),
      'must be a time such as 2027-01-31T00:00:00Z',
    ),
  );
/** The members of a row that say what a model takes. */
export const capabilityFields = {
  line: z.nullable(z.enum(MODEL_LINES)),
  thinking: z.nullable(
    z.strictObject({
      default: z.addDescription(
        z.enum(THINKING_DEFAULTS),
        'Whether the model thinks if a request does not set `thinking`: `always`, `adaptive` or `off`.',
      ),
      types: z.addDescription(z.array(z.enum(THINKING_TYPES)), 'The values of `thinking.type` that the model accepts.'),
      off_efforts: z.addDescription(z.array(z.enum(EFFORTS)), 'The efforts with which thinking can be disabled.'),
    }),
  ),
  efforts: z.array(z.enum(EFFORTS)),
  default_effort: z.nullable(z.enum(EFFORTS)),
  fast_until: z.nullable(retiresAt),
};
/** What an entry of PRICES changes in a model's row. */
export const modelOverride = z.strictObject({
  display_name: z.optional(z.string()),
  aliases: z.optional(z.array(z.string())),
  max_input_tokens: z.optional(z.int().check(z.gte(1))),
  max_tokens: z.optional(z.int().check(z.gte(1))),
  minimum_cacheable_tokens: z.optional(z.int().check(z.gte(0))),
  tokens_per_second: z.optional(z.int().check(z.gte(1))),
  fast_tokens_per_second: z.optional(z.int().check(z.gte(1))),
  retires_at: z.optional(z.nullable(retiresAt)),
  replacement: z.optional(z.nullable(z.string())),
  ...z.partial(z.object(capabilityFields)).shape,
  forced_tools: z.optional(z.boolean()),
  refuses: z.optional(z.array(z.enum(REJECTABLE_PARAMETERS))),
  structured_output: z.optional(z.boolean()),
  binds_thinking: z.optional(z.boolean()),
  prices: z.optional(
    z.strictObject({
      ...createPricesSchema(z.optional(pricePerMillion)),
      long_prompt: z.optional(z.strictObject({ ...allPrices, above_tokens: z.int().check(z.gte(0)) })),
      fast: z.optional(z.strictObject(allPrices)),
    }),
  ),
});

/** The form of the setting PRICES: models by their id, each with what it changes in the built-in table or adds to it. */
export const priceTable = z.catchall(z.object({}), modelOverride);

/** Rows that override or extend the model table, by model id. Prices are in US dollars per million tokens. */
export type Prices = z.input<typeof priceTable>;
