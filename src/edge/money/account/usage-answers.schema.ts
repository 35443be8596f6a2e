import { count, createObjectTypeSchema, time, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { BLOCKING_LIMITS, limitsSchema, tokenLimits, unpaidSearchesSchema } from '../budget/limits.schema.ts';
import type { PluginRowFields } from '../contracts/dimensions.ts';
import { loweredBySchema } from '../contracts/lowered-by.schema.ts';
import { outcomeCounts } from '../lists/batches-answers.schema.ts';

const tokenCountsSchema = z.object({
  input_tokens: z.addDescription(count, 'Neither read from nor written to the cache.'),
  output_tokens: count,
  cache_read_input_tokens: count,
  cache_write_5m_input_tokens: count,
  cache_write_1h_input_tokens: count,
  thinking_tokens: z.addDescription(count, 'Of the output tokens.'),
  web_search_requests: count,
});

const meterSchema = z.object({
  limit: z.number(),
  remaining: z.number(),
  resets_at: z.addDescription(time, 'When the bucket is full again, if nothing else happens.'),
});

const spendSchema = z.object({
  window: z.addDescription(z.string(), '2026-11-20T12, 2026-11-20, 2026-W47 or 2026-11.'),
  limit_usd: z.nullable(usd),
  settled_usd: usd,
  held_usd: z.addDescription(usd, 'Set aside for requests that are running.'),
  resets_at: time,
});

const totalSchema = z.object({
  limit_usd: z.addDescription(z.nullable(usd), 'The limit usd_total, and what credit adds to it.'),
  settled_usd: usd,
  held_usd: usd,
  credit_usd: z.addDescription(usd, 'What credit adds to the limit: what has expired counts as far as it was spent.'),
});

/** A limit in USD that holds for an account, whoever has set it, with how much of it is used. */
export const bindingLimitSchema = z.object({
  by: z.enum(['account', 'token', 'group', 'deployment']),
  id: z.addDescription(
    z.nullable(z.string()),
    'The group, or the jti of the token; null for the account and the deployment.',
  ),
  limit: z.enum(['usd_per_hour', 'usd_per_day', 'usd_per_week', 'usd_per_month', 'usd_total']),
  limit_usd: z.addDescription(usd, 'With what credit adds to `usd_total`.'),
  prepaid: z.createOptionalField(z.literal(true), 'Only of a `usd_total` of 0: all of `limit_usd` is credit.'),
  used_usd: usd,
  resets_at: z.addDescription(z.nullable(time), 'Null for `usd_total`, which does not reset.'),
  refuses: z.addDescription(
    z.boolean(),
    'Whether it refuses requests: it is used up, or of a shared budget no more than a hundredth is left.',
  ),
});

const tokenQuotaSchema = z.object({ limits: tokenLimits, settled_usd: usd, held_usd: usd });

const storedSchema = z.object({ limit: z.int(), used: z.int() });

export const blockedBy = z.addDescription(
  z.nullable(z.enum(BLOCKING_LIMITS)),
  'The limit that refuses all of its requests, since it is 0 or has no models; null if none does.',
);

export const accountRow = z.object({ type: createObjectTypeSchema('account'), id: z.string() });

/** The quota status of an account, in every window and bucket. */
export const quotaReportSchema = z.object({
  limits: z.addDescription(limitsSchema, 'The limits in force: the account’s own over the deployment’s.'),
  own_limits: z.nullable(limitsSchema),
  group: z.addDescription(z.nullable(z.string()), 'The group that an admin has chosen.'),
  blocked_by: blockedBy,
  binds: z.addDescription(
    z.array(bindingLimitSchema),
    'The limits in USD that hold for it, the one that is used up most first: its own, the tightest of its tokens, and for an admin those of its group and of the deployment.',
  ),
  hour: spendSchema,
  day: spendSchema,
  week: spendSchema,
  month: spendSchema,
  total: z.addDescription(totalSchema, 'Since the account’s first request.'),
  token: z.addDescription(z.nullable(tokenQuotaSchema), 'Of the token that asks, where it has limits of its own.'),
  requests: z.nullable(meterSchema),
  input_tokens: z.nullable(meterSchema),
  output_tokens: z.nullable(meterSchema),
  count_requests: z.nullable(meterSchema),
  running_requests: z.int(),
  conversations: storedSchema,
  stored_bytes: z.addDescription(
    storedSchema,
    'Of conversations (their databases, with the events of the last minutes), prefixes and classifiers.',
  ),
});

/** An account as its own route answers it. */
export const accountAnswer = z.extend(accountRow, {
  ...quotaReportSchema.shape,
  unpaid_searches: unpaidSearchesSchema,
});

const usedSchema = z.nullable(z.object({ used: z.addDescription(z.number(), 'The share that is used, of 1.') }));

const usedInWindow = z.nullable(z.object({ used: z.number(), resets_at: time }));

/** An account as a page's restricted token sees it: shares and times, and no amount. null: no limit in USD. */
export const boundAccountAnswer = z.extend(accountRow, {
  hour: usedInWindow,
  day: usedInWindow,
  week: usedInWindow,
  month: usedInWindow,
  total: z.addDescription(usedSchema, 'Of the limit usd_total and the credit.'),
  token: z.addDescription(usedSchema, 'Of the limit of the token that asks.'),
});

/** How far an erasure has come. It goes on by itself. */
export const erasureAnswer = z.extend(accountRow, {
  done: z.boolean(),
  remaining: z.addDescription(z.int(), 'Rows and conversations that are still to be erased.'),
});

/** An account that was erased. */
export const erasureRow = z.object({ type: createObjectTypeSchema('erasure'), account: z.string(), erased_at: time });

export const ledgerRowSchema = z.object({
  request_id: z.string(),
  created_at: time,
  settled_at: z.nullable(time),
  route: z.string(),
  model: z.string(),
  answered_by: z.addDescription(z.nullable(z.string()), 'The model that the upstream says it was.'),
  conversation: z.nullable(z.string()),
  prefix: z.nullable(z.string()),
  agent: z.nullable(z.string()),
  token: z.addDescription(z.nullable(z.string()), 'The jti of the credential.'),
  tags: z.addDescription(
    z.record(z.string(), z.string()),
    'What it was for: the token’s claim `tags`, else the header `sluice-tags`.',
  ),
  user: z.addDescription(
    z.nullable(z.string()),
    'Of `metadata.user_id`: the first 32 digits of the SHA-256 of `sluice user ` and it.',
  ),
  status: z.addDescription(
    z.string(),
    'held, complete, cut, client_gone, refused_upstream, retried, orphaned, … `held` is a request that still runs.',
  ),
  stage: z.addDescription(z.nullable(z.string()), 'The last stage that was reported.'),
  max_tokens: z.nullable(count),
  lowered_by: z.addDescription(
    z.nullable(loweredBySchema),
    'Whose limit has lowered `max_tokens`, or has set `max_uses`; null if none has.',
  ),
  hold_usd: usd,
  cost_usd: usd,
  usage: tokenCountsSchema,
  estimated: z.addDescription(z.boolean(), 'The cost is not the upstream’s final word.'),
  over_hold: z.addDescription(z.boolean(), 'The upstream billed more than was set aside.'),
  late: z.addDescription(z.boolean(), 'Settled after the hold had expired; replaces the estimate.'),
  unpriced: z.addDescription(z.boolean(), 'The model is not in the price table; the dearest row was used.'),
  stop_reason: z.nullable(z.string()),
  error_type: z.nullable(z.string()),
  upstream_request_id: z.nullable(z.string()),
  upstream: z.addDescription(z.nullable(z.string()), 'Where there are several: the name of the one that answered.'),
  failed_upstreams: z.addDescription(
    z.array(z.string()),
    'The upstreams that failed before another attempt was answered.',
  ),
  ttft_ms: z.addDescription(z.nullable(z.number()), 'From when it was sent to the first byte.'),
  waited_ms: z.addDescription(
    z.nullable(z.number()),
    'Before it was sent: until its account and its budgets admitted it.',
  ),
  ms: z.nullable(z.number()),
  batch: z.addDescription(z.nullable(z.string()), 'The batch that this is of: it has one row for each model.'),
  outcomes: z.addDescription(z.nullable(outcomeCounts), 'How many items of a batch have ended how, once it has.'),
});

const refusalSchema = z.object({
  limited_by: z.addDescription(
    z.string(),
    'Whose limit it was, as the header sluice-limited-by said it; empty where a shared budget was too busy.',
  ),
  group: z.createOptionalField(z.string(), 'The group, where it was the limit of one.'),
  limit: z.addDescription(z.string(), 'The limit, as it is named in the limits; empty like `limited_by`.'),
  reason: z.addDescription(
    z.enum(['model', 'unpriced', 'requests', 'concurrency', 'rate', 'spend', 'held', 'storage']),
    'What was short: model: it may not be used; unpriced: its price is not known; requests: of the token; concurrency; rate; spend: money; held: money that other requests hold; storage.',
  ),
  never: z.addDescription(z.boolean(), 'Whether it would be refused if nothing were used.'),
  message: z.addDescription(z.string(), 'What the caller was told.'),
});

/** A request in a list of them. */
export const listedRequestSchema = z.extend(ledgerRowSchema, {
  account: z.createOptionalField(z.string(), 'Whose it is, where those of all accounts are asked for.'),
  refusal: z.addDescription(z.optional(refusalSchema), 'Only where refused ones are asked for: why it was refused.'),
});

/** What a list of requests says beside its rows. */
export const ownerOfListSchema = z.addDescription(
  z.nullable(z.string()),
  'Whose requests these are; null for those of all accounts.',
);

/** One request by its id, with each of its tries. Every try that may have run is paid for. */
export const ledgerRequestSchema = z.extend(ledgerRowSchema, {
  account: z.createOptionalField(z.string(), 'Whose it is; only an admin is told.'),
  tries: z.addDescription(
    z.array(ledgerRowSchema),
    'The rows of all its tries, this one first: `<request_id>.2` is the second. Those of a batch are of its models.',
  ),
  refusal: z.addDescription(z.nullable(refusalSchema), 'Why it was refused, where its status is `refused`.'),
});

/** How fast streams were: counts and sums, so that those of several groups can be added. */
const speedSchema = z.object({
  timed_requests: z.addDescription(count, 'The streams whose first event came.'),
  ttft_ms: z.addDescription(count, 'The sum of their milliseconds to it.'),
  ttft_within_ms: z.addDescription(
    z.record(z.string(), count),
    'How many of them had it within 250, 500, 1000, 2500, 5000, 10000 and 30000 milliseconds: the buckets of a histogram, each with those before it.',
  ),
  streamed_tokens: z.addDescription(count, 'The output tokens of the streams that came to their end.'),
  streamed_ms: z.addDescription(
    count,
    'The milliseconds from the first event of these to their end, as callers have taken them: tokens a second are streamed_tokens / streamed_ms * 1000.',
  ),
});

const usageTotalSchema = z.object({
  requests: z.int(),
  failed: z.addDescription(count, 'Of the requests: those with an `error_type` in the ledger.'),
  cost_usd: usd,
  saved_usd: z.addDescription(
    usd,
    'What caching has saved, against the same requests without it; negative where it has cost more.',
  ),
  usage: tokenCountsSchema,
  speed: speedSchema,
});

const dayOrMoment = z.nullable(z.union([z.iso.date(), z.iso.datetime({ offset: true })]));

/** What was spent between two days or times, the second exclusive. */
export const usageReportSchema = z.object({
  from: z.addDescription(dayOrMoment, 'What was summed: of all accounts whole days.'),
  to: dayOrMoment,
  group_by: z.string(),
  data: z.array(
    z.extend(usageTotalSchema, {
      key: z.addDescription(z.nullable(z.string()), 'The day, model, … of this group.'),
      last_day: z.createOptionalField(
        z.iso.date(),
        'Of all accounts, by agent, token, user and the like: the last day in UTC on which there was such a request.',
      ),
      calls: z.createOptionalField(
        count,
        'By tool: how often the edge has called it. `requests` are the steps that have taken up its results.',
      ),
      errors: z.createOptionalField(count, 'By tool: how many of these calls have failed.'),
      ms: z.createOptionalField(count, 'By tool: how long all of them took, in milliseconds.'),
    }),
  ),
  total: usageTotalSchema,
});

/** A credential that was minted here or seen in use, without the token itself. */
export const tokenRowSchema = z.object({
  jti: z.string(),
  label: z.nullable(z.string()),
  scopes: z.nullable(z.array(z.string())),
  minted_at: z.addDescription(z.nullable(time), 'null: issued elsewhere.'),
  first_seen_at: z.nullable(time),
  expires_at: z.nullable(time),
  revoked_at: z.nullable(time),
  limits: z.addDescription(z.nullable(tokenLimits), 'Its own, beside those of its account.'),
  spent_usd: z.addDescription(
    z.nullable(usd),
    'What its requests have cost; null for a token without limits of its own.',
  ),
});

/** Money that an account was given in addition to its limit usd_total. */
export const creditRowSchema = z.object({
  type: createObjectTypeSchema('credit'),
  id: z.string(),
  usd,
  spent_usd: z.addDescription(
    usd,
    'The earliest to expire is spent first; what does not expire, after the limit usd_total.',
  ),
  left_usd: usd,
  note: z.nullable(z.string()),
  created_at: time,
  expires_at: z.nullable(time),
});

/** What was revoked: one token, or all of an account. */
export const revokedAnswer = z.object({
  account: z.string(),
  revoked: z.addDescription(z.string(), 'The jti, or `all`: everything that was issued until now.'),
});

export type SpendLimitUsage = z.output<typeof bindingLimitSchema>;
/** A limit with what is used of it, before it is known whether that refuses. */
export type SpendLimitUsageBeforeRejection = Omit<SpendLimitUsage, 'refuses'>;
export type RestrictedAccountAnswer = z.output<typeof boundAccountAnswer>;
export type QuotaReport = z.output<typeof quotaReportSchema>;
export type LedgerRow = z.output<typeof ledgerRowSchema> & PluginRowFields;
export type LedgerRequest = Omit<z.output<typeof ledgerRequestSchema>, 'tries'> &
  PluginRowFields & { tries: LedgerRow[] };
export type ListedRequest = z.output<typeof listedRequestSchema> & PluginRowFields;
export type UsageReport = z.output<typeof usageReportSchema>;
export type CreditRow = z.output<typeof creditRowSchema>;
export type TokenRow = z.output<typeof tokenRowSchema>;
