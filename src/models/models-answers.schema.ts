import * as z from '../http/zod.ts';
import { pricesOf } from '../settings/price-settings.ts';

const usdPerMillion = z.described(z.number(), 'US dollars per million tokens.');
const tokenPrices = z.object(pricesOf(usdPerMillion));

const modelPrices = z.extend(tokenPrices, {
  long_prompt: z.optional(z.extend(tokenPrices, { above_tokens: z.int() })),
  fast: z.optional(tokenPrices),
});

/** A model as the upstream lists it, joined with the limits and prices that this edge knows. */
export const modelAnswer = z.looseObject({
  type: z.literal('model'),
  id: z.string(),
  display_name: z.string(),
  created_at: z.iso.datetime(),
  max_input_tokens: z.nullable(z.int()),
  max_tokens: z.nullable(z.int()),
  retires_at: z.nullable(z.string()),
  minimum_cacheable_tokens: z.described(z.nullable(z.int()), 'null: the model is not in this edge’s table.'),
  replacement: z.nullable(z.string()),
  prices: z.nullable(modelPrices),
  upstreams: z.optionally(
    z.array(z.object({ name: z.string(), id: z.string(), prices: z.nullable(modelPrices) })),
    'Where there are several: those that serve it, in the order in which they are tried, with its id and prices there.',
  ),
});
