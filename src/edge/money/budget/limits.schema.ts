/** The limits that admins can set. Their maximum keeps all sums exact. */

import { count, instant, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';

/** Nine million dollars: in nanodollars about the largest exact integer. It also means "no limit". */
export const MAX_USD = 9_000_000;

const hasAtMostNineDecimals = (value: number) => Math.round(value * 1e9) / 1e9 === value;
const createAmountSchema = (min: number, max: number) =>
  z
    .number()
    .check(z.gte(min), z.lte(max), z.refine(hasAtMostNineDecimals, { error: 'must have at most nine decimals' }));
const createLimitAmountSchema = (max: number) => createAmountSchema(0, max);
const perMinute = z.optional(createLimitAmountSchema(MAX_USD));
const usdAmount = createLimitAmountSchema(MAX_USD);
const usdLimit = z.optional(usdAmount);
const alertShares = z.createOptionalField(
  z.array(z.number().check(z.gt(0), z.lte(10))).check(z.maxLength(10)),
  'Shares of each limit in US dollars at which an alert is sent, such as `[0.5, 0.8, 1]`.',
);
const modelNames = z.array(z.string().check(z.minLength(1), z.maxLength(256))).check(z.maxLength(100));

/** Models that may step in for another, by id or alias. */
export const fallbackModels = z.array(z.string().check(z.minLength(1), z.maxLength(256))).check(z.maxLength(5));

/** The limits of windows that begin again. */
const usdWindows = {
  usd_per_hour: z.addDescription(usdLimit, 'US dollars per hour of the clock (UTC).'),
  usd_per_day: z.addDescription(usdLimit, 'US dollars per day (UTC).'),
  usd_per_week: z.addDescription(usdLimit, 'US dollars per week, from Monday (UTC).'),
  usd_per_month: z.addDescription(usdLimit, 'US dollars per calendar month (UTC).'),
};

/**
 * The limits of an account, and of DEFAULT_LIMITS. An absent limit has the deployment's default; without a default there is
 * no limit.
 */
export const limitsSchema = z.strictObject({
  requests_per_minute: z.addDescription(perMinute, 'Requests per minute; the bucket refills continuously.'),
  input_tokens_per_minute: z.addDescription(perMinute, 'Input tokens per minute, without those read from the cache.'),
  output_tokens_per_minute: z.addDescription(perMinute, 'Output tokens per minute.'),
  count_requests_per_minute: z.addDescription(
    perMinute,
    'Token-counting requests per minute. No other limit applies to them.',
  ),
  ...usdWindows,
  usd_total: z.addDescription(
    usdLimit,
    'US dollars in total since the account’s first request. Credit adds to it; 0 means prepaid.',
  ),
  concurrent_requests: z.createOptionalField(
    z.int().check(z.gte(0)),
    'The most requests that may run at the same time.',
  ),
  conversations: z.createOptionalField(
    z.int().check(z.gte(0)),
    'The most conversations that may be stored. Default: 10,000.',
  ),
  stored_bytes: z.createOptionalField(
    z.int().check(z.gte(0)),
    'The most bytes that conversations, prefixes and classifiers may occupy together. Default: 1,000,000,000.',
  ),
  models: z.createOptionalField(
    modelNames,
    'The models that may be used, by id or alias. `default` allows the fallbacks that the Claude API chooses.',
  ),
  alerts: alertShares,
  fallback_models: z.createOptionalField(
    fallbackModels,
    'Models to try, in this order, if the requested one is overloaded at every upstream or the budget does not cover it. A request can set its own.',
  ),
  on_shortfall: z.createOptionalField(
    z.enum(['clamp', 'refuse']),
    'What to do if the budget does not cover `max_tokens`: lower it (`clamp`, the default) or reject the request (`refuse`).',
  ),
  min_output_tokens: z.createOptionalField(
    z.int().check(z.gte(1), z.lte(1_000_000)),
    'The lowest value to which `max_tokens` is lowered; below it the request is rejected. Default: 256 without thinking, else 1,024 at low effort, 2,048 at medium, 4,096 at high, 8,192 above. With a thinking budget: that budget plus 256.',
  ),
  served_tools: z.createOptionalField(
    z.enum(['exact', 'estimate']),
    'How much to hold for a step of a tool that the Claude API calls: the whole context window (`exact`, the default), or 25,000 tokens more than the previous step (`estimate`), which a request may exceed. Batches always use `exact`.',
  ),
});

/** Explains why a limit of accounts cannot be set for a group or the deployment. */
const poolLimitParams = {
  error: (issue: z.core.$ZodRawIssue) => {
    const name = issue.code === 'unrecognized_keys' && issue.keys.find((key) => Object.hasOwn(limitsSchema.shape, key));
    if (!name) return undefined;
    return `${name}: supported only for accounts. Groups and the deployment have only \`alerts\` and limits in US dollars (\`usd_…\`). Set it for each account with PATCH /accounts/:id/limits, or for all accounts in the setting DEFAULT_LIMITS`;
  },
};

/** The limits of a pool, which accounts share. An absent limit means no limit. */
export const poolLimitsSchema = z.strictObject(
  {
    ...usdWindows,
    usd_total: z.addDescription(
      usdLimit,
      'US dollars in total: the spending of its accounts since their first request, including spending before this limit was set.',
    ),
    alerts: alertShares,
  },
  poolLimitParams,
);

export type PoolLimits = z.output<typeof poolLimitsSchema>;

export type Limits = z.output<typeof limitsSchema>;

/** The limits that reject every request where they are 0, or have no models. A `usd_total` of 0 is prepaid: credit adds to it. */
export const BLOCKING_LIMITS = [
  'usd_per_hour',
  'usd_per_day',
  'usd_per_week',
  'usd_per_month',
  'usd_total',
  'models',
  'requests_per_minute',
  'input_tokens_per_minute',
  'output_tokens_per_minute',
  'concurrent_requests',
] as const satisfies readonly (keyof Limits)[];

export type BlockingLimitName = (typeof BLOCKING_LIMITS)[number];

/** Everything that rejects all requests of an account: a limit, or an admin. */
export const BLOCK_CAUSES = ['blocked', ...BLOCKING_LIMITS] as const;

export type BlockCause = (typeof BLOCK_CAUSES)[number];

/** A change of limits: null removes one, absent ones stay. */
const toPatchSchema = <Shape extends Readonly<Record<string, z.ZodMiniType>>>(
  shape: Shape,
  params?: typeof poolLimitParams,
) => {
  const limits = Object.fromEntries(Object.entries(shape).map(([name, limit]) => [name, z.nullable(limit)])) as {
    [Name in keyof Shape]: z.ZodMiniNullable<Shape[Name]>;
  };
  const ifLimits = z.createOptionalField(
    z.strictObject(limits, params),
    'The values that limits must have before the change; null for a limit that is not set. If one differs, because somebody else has changed it, the request returns a 409 and changes nothing.',
  );
  return z.strictObject({ ...limits, if_limits: ifLimits }, params);
};

/** A change of an account's own limits. */
export const limitsPatch = toPatchSchema(limitsSchema.shape);

/** A change of the limits of a pool. */
export const poolLimitsPatch = toPatchSchema(poolLimitsSchema.shape, poolLimitParams);

export type LimitsPatch = z.output<typeof limitsPatch>;

export type PoolLimitsPatch = z.output<typeof poolLimitsPatch>;

/** Limits by name; null for a limit that is not set, or that a change removes. */
export type NullableLimits<Some> = { [Name in keyof Some]?: Some[Name] | null | undefined };

/** @returns limits with a change of some of them */
export function applyPatch<Some extends Limits | PoolLimits>(
  limits: Some,
  { if_limits: _, ...patch }: NullableLimits<Some> & { if_limits?: unknown },
): Some {
  const all: Record<string, unknown> = { ...limits };
  for (const [name, limit] of Object.entries(patch)) {
    if (limit === null) delete all[name];
    else if (limit !== undefined) all[name] = limit;
  }
  return all as Some;
}

/** The limits of a single token. The account stores them, so they need not be in the token. */
export const tokenLimits = z.strictObject({
  usd_total: z.addDescription(usdLimit, 'The most that the token’s requests may cost in total, in US dollars.'),
  models: z.createOptionalField(
    modelNames,
    'The models that the token may use, out of those that its account may use.',
  ),
});

export type TokenLimits = z.output<typeof tokenLimits>;

const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)$/;
const moment = z
  .string()
  .check(
    z.refine(
      (text) => MOMENT.test(text) && Number.isFinite(Date.parse(text)),
      'must be a time such as 2027-01-01T00:00:00Z',
    ),
  );

/** The web searches that changed limits can never pay for, in the response to the change. */
export const unpaidSearchesSchema = z.createOptionalField(
  z.object({
    limit: z.addDescription(z.string(), 'The limit that is too low, such as `usd_per_day`.'),
    models: z.addDescription(
      z.array(
        z.object({
          model: z.addDescription(z.string(), 'The id of the model.'),
          exact_usd: z.addDescription(usd, 'The maximum cost of a search with `served_tools: "exact"`, in US dollars.'),
          estimate_usd: z.addDescription(
            usd,
            'The estimated cost of a search with `served_tools: "estimate"`, in US dollars.',
          ),
        }),
      ),
      'The models with which no search fits the limit.',
    ),
    note: z.addDescription(z.string(), 'Why these searches are rejected, and what to change.'),
  }),
  'Web searches that the new limits can never cover with `served_tools: "exact"`. Only in responses to a change of limits.',
);

export type UnaffordableSearches = NonNullable<z.output<typeof unpaidSearchesSchema>>;

/** Why an admin has blocked an account. */
export const blockSchema = z.strictObject({
  reason: z.addDescription(
    z.string().check(z.minLength(1), z.maxLength(1_000)),
    'Why the account is blocked, for operators. Users do not receive it.',
  ),
  message: z.addDescription(
    z.string().check(z.minLength(1), z.maxLength(1_000)),
    'The message of the 403 that each request of the account returns.',
  ),
});

export type AccountBlock = z.output<typeof blockSchema>;

/** Why a credit was given. */
const creditNote = z.string().check(z.maxLength(512));
/** The `idempotency-key` with which a credit is given. */
export const creditKey = z.string().check(z.maxLength(256, 'must have at most 256 characters'));

/** US dollars that an account is given in addition to its limit `usd_total`. */
export const creditRequest = z.strictObject({
  usd: z.addDescription(
    createAmountSchema(-MAX_USD, MAX_USD).check(z.refine((usd) => usd !== 0, { error: 'must not be 0' })),
    'US dollars, with at most nine decimals. A negative amount takes credit back, as for a refund; spent credit stays spent.',
  ),
  expires_at: z.createOptionalField(moment, 'When the rest of the credit expires; ISO 8601. Default: never.'),
  note: z.createOptionalField(creditNote, 'What the credit is for, such as an invoice number.'),
});

/** The columns of a credit that an account stores, in nanodollars and milliseconds. */
export const storedCredit = z.strictObject({
  id: z.addDescription(
    z.string().check(z.maxLength(128)),
    'The id of the credit, such as `credit_0b6f7c0e-3f1e-4a55-9b8e-2f6f0f3d7c11`.',
  ),
  key: z.addDescription(
    z.nullable(creditKey),
    'The `idempotency-key` with which the credit was given. Null if the credit was given without a key.',
  ),
  amount: z.addDescription(
    z.int(),
    'The amount of the credit, in nanodollars (1 US dollar is 1,000,000,000). It is negative for credit that was taken back.',
  ),
  spent: z.addDescription(count, 'How much of the credit is spent, in nanodollars.'),
  note: z.addDescription(
    z.nullable(creditNote),
    'The note of the admin who gave the credit. Null if the credit has no note.',
  ),
  created_at: z.addDescription(instant, 'When the credit was given; milliseconds since 1970.'),
  expires_at: z.addDescription(
    z.nullable(instant),
    'When the credit expires; milliseconds since 1970. Null if the credit does not expire.',
  ),
});
