import * as z from 'zod';

const usdPerMillion = z.number().describe('US dollars per million tokens.');
const tokenPrices = z.object({
  input: usdPerMillion,
  output: usdPerMillion,
  cache_write_5m: usdPerMillion,
  cache_write_1h: usdPerMillion,
  cache_read: usdPerMillion,
});

/** A model as the upstream tells of it, joined with the limits and prices that this edge knows. */
export const modelAnswer = z.looseObject({
  type: z.literal('model'),
  id: z.string(),
  display_name: z.string(),
  created_at: z.iso.datetime(),
  max_input_tokens: z.int().nullable(),
  max_tokens: z.int().nullable(),
  retires_at: z.string().nullable(),
  minimum_cacheable_tokens: z.int().nullable().describe('null: the model is not in this edge’s table.'),
  replacement: z.string().nullable(),
  prices: tokenPrices
    .extend({
      long_prompt: tokenPrices.extend({ above_tokens: z.int() }).optional(),
      fast: tokenPrices.optional(),
    })
    .nullable(),
});
