import * as z from 'zod';

/** Nine million dollars: the most that stays an exact integer in nanodollars. It is also what "no limit" means. */
export const MOST_USD = 9_000_000;

const nineDecimals = (value: number) => Math.round(value * 1e9) / 1e9 === value;
const amount = (most: number) =>
  z.number().min(0).max(most).refine(nineDecimals, { error: 'must have at most nine decimals' });
const perMinute = amount(MOST_USD).optional();
const usd = amount(MOST_USD).optional();

/** The limits of an account, and of `DEFAULT_LIMITS`. What is absent is not limited, or takes the deployment's default. */
export const limitsSchema = z.strictObject({
  requests_per_minute: perMinute.describe('Requests a minute; the bucket refills continuously.'),
  input_tokens_per_minute: perMinute.describe('Input tokens a minute; cache reads do not count.'),
  output_tokens_per_minute: perMinute.describe('Output tokens a minute.'),
  count_requests_per_minute: perMinute.describe('Token counts a minute; they have no other limit.'),
  usd_per_day: usd.describe('US dollars a day (UTC).'),
  usd_per_week: usd.describe('US dollars a week, from Monday (UTC).'),
  usd_per_month: usd.describe('US dollars a calendar month (UTC).'),
  concurrent_requests: z.int().min(0).optional().describe('Requests that may run at the same time.'),
  conversations: z.int().min(0).optional().describe('Conversations that may be kept. Default 10,000.'),
  stored_bytes: z
    .int()
    .min(0)
    .optional()
    .describe('Bytes that conversations, prefixes and classifiers may take up together. Default 1,000,000,000.'),
  models: z
    .array(z.string().min(1).max(256))
    .max(100)
    .optional()
    .describe('Models that may be used, by id or alias; `default` allows the API’s own choice of fallbacks.'),
  on_shortfall: z
    .enum(['clamp', 'refuse'])
    .optional()
    .describe('What happens if max_tokens is more than is left: it is lowered (`clamp`, the default), or refused.'),
  min_output_tokens: z
    .int()
    .min(1)
    .max(1_000_000)
    .optional()
    .describe('The least max_tokens worth an answer: below it a request is refused. Default 256.'),
  served_tools: z
    .enum(['exact', 'estimate'])
    .optional()
    .describe(
      'What is set aside for a step of a tool that the API itself calls: the whole context window (`exact`, the default), or SERVED_STEP_TOKENS beyond the prompt (`estimate`), which a request may exceed.',
    ),
});

export type Limits = z.output<typeof limitsSchema>;
