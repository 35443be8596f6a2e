import * as z from '../kit/http/zod.ts';

/** A count of tokens, whether the prompt fits the model, and what it costs as input of each kind. */
export const countAnswer = z.looseObject({
  input_tokens: z.number(),
  context_window: z.nullable(z.number()),
  fits: z.nullable(z.boolean()),
  cost_usd: z.nullable(
    z.object({ input: z.number(), cache_write_5m: z.number(), cache_write_1h: z.number(), cache_read: z.number() }),
  ),
});

export type TokenCountResponse = z.output<typeof countAnswer>;
