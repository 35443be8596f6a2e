import * as z from '../http/zod.ts';

/** Nine million dollars: in nanodollars about the largest exact integer. It also stands for "no limit". */
export const MOST_USD = 9_000_000;

const nineDecimals = (value: number) => Math.round(value * 1e9) / 1e9 === value;
const limitAmount = (most: number) =>
  z.number().check(z.gte(0), z.lte(most), z.refine(nineDecimals, { error: 'must have at most nine decimals' }));
const perMinute = z.optional(limitAmount(MOST_USD));
const usdLimit = z.optional(limitAmount(MOST_USD));

/** Models that may step in for another, by id or alias. */
export const fallbackModels = z.array(z.string().check(z.minLength(1), z.maxLength(256))).check(z.maxLength(5));

/** The limits of an account, and of DEFAULT_LIMITS. An absent one has the deployment's default; without a default it is no limit. */
export const limitsSchema = z.strictObject({
  requests_per_minute: z.described(perMinute, 'Requests a minute; the bucket refills continuously.'),
  input_tokens_per_minute: z.described(perMinute, 'Input tokens a minute; cache reads do not count.'),
  output_tokens_per_minute: z.described(perMinute, 'Output tokens a minute.'),
  count_requests_per_minute: z.described(perMinute, 'Token counts a minute; they have no other limit.'),
  usd_per_day: z.described(usdLimit, 'US dollars a day (UTC).'),
  usd_per_week: z.described(usdLimit, 'US dollars a week, from Monday (UTC).'),
  usd_per_month: z.described(usdLimit, 'US dollars a calendar month (UTC).'),
  concurrent_requests: z.described(z.optional(z.int().check(z.gte(0))), 'Requests that may run at the same time.'),
  conversations: z.described(z.optional(z.int().check(z.gte(0))), 'Conversations that may be kept. Default 10,000.'),
  stored_bytes: z.described(
    z.optional(z.int().check(z.gte(0))),
    'Bytes that conversations, prefixes and classifiers may take up together. Default 1,000,000,000.',
  ),
  models: z.described(
    z.optional(z.array(z.string().check(z.minLength(1), z.maxLength(256))).check(z.maxLength(100))),
    'Models that may be used, by id or alias; `default` allows the API’s own choice of fallbacks.',
  ),
  fallback_models: z.described(
    z.optional(fallbackModels),
    'Models that step in, in this order, where the asked one is overloaded at every upstream or the budget does not pay for it. A request may name its own.',
  ),
  on_shortfall: z.described(
    z.optional(z.enum(['clamp', 'refuse'])),
    'What happens if max_tokens is more than is left: it is lowered (`clamp`, the default), or refused.',
  ),
  min_output_tokens: z.described(
    z.optional(z.int().check(z.gte(1), z.lte(1_000_000))),
    'The least max_tokens worth an answer: below it a request is refused. Default 256.',
  ),
  served_tools: z.described(
    z.optional(z.enum(['exact', 'estimate'])),
    'What is set aside for a step of a tool that the API itself calls: the whole context window (`exact`, the default), or SERVED_STEP_TOKENS beyond the prompt (`estimate`), which a request may exceed.',
  ),
});

export type Limits = z.output<typeof limitsSchema>;
