import * as z from '../kit/http/zod.ts';

/** A count of tokens, whether the prompt fits the model, and what it costs as input of each kind. */
export const countAnswer = z.looseObject({
  input_tokens: z.addDescription(z.number(), 'The number of tokens of the prompt.'),
  context_window: z.addDescription(
    z.nullable(z.number()),
    'The largest context of the model, in tokens. Null if the model is not in the model table.',
  ),
  fits: z.addDescription(
    z.nullable(z.boolean()),
    'Whether the prompt fits the context window. Null if the model is not in the model table.',
  ),
  cost_usd: z.addDescription(
    z.nullable(
      z.object({
        input: z.addDescription(z.number(), 'Without caching.'),
        cache_write_5m: z.addDescription(z.number(), 'If the whole prompt is written to the cache for 5 minutes.'),
        cache_write_1h: z.addDescription(z.number(), 'If the whole prompt is written to the cache for 1 hour.'),
        cache_read: z.addDescription(z.number(), 'If the whole prompt is read from the cache.'),
      }),
    ),
    'The cost of the prompt in US dollars, by how it is cached. Null if the price of the model is unknown.',
  ),
});

export type TokenCountResponse = z.output<typeof countAnswer>;
