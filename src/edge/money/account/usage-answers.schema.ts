import { count, time, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { BLOCKING_LIMITS, limitsSchema, tokenLimits, unpaidSearchesSchema } from '../budget/limits.schema.ts';
import type { PluginRowFields } from '../contracts/dimensions.ts';
import { loweredBySchema } from '../contracts/lowered-by.schema.ts';
import { outcomeCounts } from '../lists/batches-answers.schema.ts';

const tokenCountsSchema = z.object({
  input_tokens: z.withDescription(count, 'Neither read from nor written to the cache.'),
  output_tokens: count,
  cache_read_input_tokens: count,
  cache_write_5m_input_tokens: count,
  cache_write_1h_input_tokens: count,
  thinking_tokens: z.withDescription(count, 'Of the output tokens.'),
  web_search_requests: count,
});

const meterSchema = z.object({
  limit: z.number(),
  remaining: z.number(),
  resets_at: z.withDescription(time, 'When the bucket is full again, if nothing else happens.'),
});

const spendSchema = z.object({
  window: z.withDescription(z.string(), '2026-11-20T12, 2026-11-20, 2026-W47 or 2026-11.'),
  limit_usd: z.nullable(usd),
  settled_usd: usd,
  held_usd: z.withDescription(usd, 'Set aside for requests that are running.'),
  resets_at: time,
});

const totalSchema = z.object({
  limit_usd: z.withDescription(z.nullable(usd), 'The limit usd_total, and what credit adds to it.'),
  settled_usd: usd,
  held_usd: usd,
  credit_usd: z.withDescription(usd, 'What credit adds to the limit: what has expired counts as far as it was spent.'),
});

/** A limit in USD that holds for an account, whoever has set it, with how much of it is used. */
export const bindingLimitSchema = z.object({
  by: z.enum(['account', 'token', 'group', 'deployment']),
  id: z.withDescription(
    z.nullable(z.string()),
    'The group, or the jti of the token; null for the account and the deployment.',
  ),
  limit: z.enum(['usd_per_hour', 'usd_per_day', 'usd_per_week', 'usd_per_month', 'usd_total']),
  limit_usd: z.withDescription(usd, 'With what credit adds to `usd_total`.'),
  prepaid: z.optionalField(z.literal(true), 'Only of a `usd_total` of 0: all of `limit_usd` is credit.'),
  used_usd: usd,
  resets_at: z.withDescription(z.nullable(time), 'Null for `usd_total`, which does not reset.'),
  refuses: z.withDescription(
    z.boolean(),
    'Whether it refuses requests: it is used up, or of a shared budget no more than a hundredth is left.',
  ),
});

const tokenQuotaSchema = z.object({ limits: tokenLimits, settled_usd: usd, held_usd: usd });

const storedSchema = z.object({ limit: z.int(), used: z.int() });

export const blockedBy = z.withDescription(
  z.nullable(z.enum(BLOCKING_LIMITS)),
  'The limit that refuses all of its requests, since it is 0 or has no models; null if none does.',
);

export const accountRow = z.object({ type: z.literal('account'), id: z.string() });

/** The quota status of an account, in every window and bucket. */
export const quotaReportSchema = z.object({
  limits: z.withDescription(limitsSchema, 'The limits in force: the account’s own over the deployment’s.'),
  own_limits: z.nullable(limitsSchema),
  group: z.withDescription(z.nullable(z.string()), 'The group that an admin has chosen.'),
  blocked_by: blockedBy,
  binds: z.withDescription(
    z.array(bindingLimitSchema),
    'The limits in USD that hold for it, the one that is used up most first: its own, the tightest of its tokens, and for an admin those of its group and of the deployment.',
  ),
  hour: spendSchema,
  day: spendSchema,
  week: spendSchema,
  month: spendSchema,
  total: z.withDescription(totalSchema, 'Since the account’s first request.'),
  token: z.withDescription(z.nullable(tokenQuotaSchema), 'Of the token that asks, where it has limits of its own.'),
  requests: z.nullable(meterSchema),
  input_tokens: z.nullable(meterSchema),
  output_tokens: z.nullable(meterSchema),
  count_requests: z.nullable(meterSchema),
  running_requests: z.int(),
  conversations: storedSchema,
  stored_bytes: z.withDescription(
    storedSchema,
    'Of conversations (their databases, with the events of the last minutes), prefixes and classifiers.',
  ),
});

/** An account as its own route answers it. */
export const accountAnswer = z.extend(accountRow, {
  ...quotaReportSchema.shape,
  unpaid_searches: unpaidSearchesSchema,
});

const usedSchema = z.nullable(z.object({ used: z.withDescription(z.number(), 'The share that is used, of 1.') }));

const usedInWindow = z.nullable(z.object({ used: z.number(), resets_at: time }));

/** An account as a page's restricted token sees it: shares and times, and no amount. null: no limit in USD. */
export const boundAccountAnswer = z.extend(accountRow, {
  hour: usedInWindow,
  day: usedInWindow,
  week: usedInWindow,
  month: usedInWindow,
  total: z.withDescription(usedSchema, 'Of the limit usd_total and the credit.'),
  token: z.withDescription(usedSchema, 'Of the limit of the token that asks.'),
});

/** How far an erasure has come. It goes on by itself. */
export const erasureAnswer = z.extend(accountRow, {
  done: z.boolean(),
  remaining: z.withDescription(z.int(), 'Rows and conversations that are still to be erased.'),
});

/** An account that was erased. */
export const erasureRow = z.object({ type: z.literal('erasure'), account: z.string(), erased_at: time });

export const ledgerRowSchema = z.object({
  request_id: z.string(),
  created_at: time,
  settled_at: z.nullable(time),
  route: z.string(),
  model: z.string(),
  answered_by: z.withDescription(z.nullable(z.string()), 'The model that the upstream says it was.'),
  conversation: z.nullable(z.string()),
  prefix: z.nullable(z.string()),
  agent: z.nullable(z.string()),
  token: z.withDescription(z.nullable(z.string()), 'The jti of the credential.'),
  tags: z.withDescription(
    z.record(z.string(), z.string()),
    'What it was for: the token’s claim `tags`, else the header `sluice-tags`.',
  ),
  user: z.withDescription(
    z.nullable(z.string()),
    'Of `metadata.user_id`: the first 32 digits of the SHA-256 of `sluice user ` and it.',
  ),
  status: z.withDescription(
    z.string(),
    'held, complete, cut, client_gone, refused_upstream, retried, orphaned, … `held` is a request that still runs.',
  ),
  stage: z.withDescription(z.nullable(z.string()), 'The last stage that was reported.'),
  max_tokens: z.nullable(count),
  lowered_by: z.withDescription(
    z.nullable(loweredBySchema),
    'Whose limit has lowered `max_tokens`, or has set `max_uses`; null if none has.',
  ),
  hold_usd: usd,
  cost_usd: usd,
  usage: tokenCountsSchema,
  estimated: z.withDescription(z.boolean(), 'The cost is not the upstream’s final word.'),
  over_hold: z.withDescription(z.boolean(), 'The upstream billed more than was set aside.'),
  late: z.withDescription(z.boolean(), 'Settled after the hold had expired; replaces the estimate.'),
  unpriced: z.withDescription(z.boolean(), 'The model is not in the price table; the dearest row was used.'),
  stop_reason: z.nullable(z.string()),
  error_type: z.nullable(z.string()),
  upstream_request_id: z.nullable(z.string()),
  upstream: z.withDescription(z.nullable(z.string()), 'Where there are several: the name of the one that answered.'),
  failed_upstreams: z.withDescription(
    z.array(z.string()),
    'The upstreams that failed before another attempt was answered.',
  ),
  ttft_ms: z.withDescription(z.nullable(z.number()), 'From when it was sent to the first byte.'),
  waited_ms: z.withDescription(
    z.nullable(z.number()),
    'Before it was sent: until its account and its budgets admitted it.',
  ),
  ms: z.nullable(z.number()),
  batch: z.withDescription(z.nullable(z.string()), 'The batch that this is of: it has one row for each model.'),
  outcomes: z.withDescription(z.nullable(outcomeCounts), 'How many items of a batch have ended how, once it has.'),
});

const refusalSchema = z.object({
  limited_by: z.withDescription(
    z.string(),
    'Whose limit it was, as the header sluice-limited-by said it; empty where a shared budget was too busy.',
  ),
  group: z.optionalField(z.string(), 'The group, where it was the limit of one.'),
  limit: z.withDescription(z.string(), 'The limit, as it is named in the limits; empty like `limited_by`.'),
  reason: z.withDescription(
    z.enum(['model', 'unpriced', 'requests', 'concurrency', 'rate', 'spend', 'held', 'storage']),
    'What was short: model: it may not be used; unpriced: its price is not known; requests: of the token; concurrency; rate; spend: money; held: money that other requests hold; storage.',
  ),
  never: z.withDescription(z.boolean(), 'Whether it would be refused if nothing were used.'),
  message: z.withDescription(z.string(), 'What the caller was told.'),
});

/** A request in a list of them. */
export const listedRequestSchema = z.extend(ledgerRowSchema, {
  account: z.optionalField(z.string(), 'Whose it is, where those of all accounts are asked for.'),
  refusal: z.withDescription(z.optional(refusalSchema), 'Only where refused ones are asked for: why it was refused.'),
});

/** What a list of requests says beside its rows. */
export const ownerOfListSchema = z.withDescription(
  z.nullable(z.string()),
  'Whose requests these are; null for those of all accounts.',
);

/** One request by its id, with each of its tries. Every try that may have run is paid for. */
export const ledgerRequestSchema = z.extend(ledgerRowSchema, {
  account: z.optionalField(z.string(), 'Whose it is; only an admin is told.'),
  tries: z.withDescription(
    z.array(ledgerRowSchema),
    'The rows of all its tries, this one first: `<request_id>.2` is the second. Those of a batch are of its models.',
  ),
  refusal: z.withDescription(z.nullable(refusalSchema), 'Why it was refused, where its status is `refused`.'),
});

/** How fast streams were: counts and sums, so that those of several groups can be added. */
const speedSchema = z.object({
  timed_requests: z.withDescription(count, 'The streams whose first event came.'),
  ttft_ms: z.withDescription(count, 'The sum of their milliseconds to it.'),
  ttft_within_ms: z.withDescription(
    z.record(z.string(), count),
    'How many of them had it within 250, 500, 1000, 2500, 5000, 10000 and 30000 milliseconds: the buckets of a histogram, each with those before it.',
  ),
  streamed_tokens: z.withDescription(count, 'The output tokens of the streams that came to their end.'),
  streamed_ms: z.withDescription(
    count,
    'The milliseconds from the first event of these to their end, as callers have taken them: tokens a second are streamed_tokens / streamed_ms * 1000.',
  ),
});

const usageTotalSchema = z.object({
  requests: z.int(),
  failed: z.withDescription(count, 'Of the requests: those with an `error_type` in the ledger.'),
  cost_usd: usd,
  saved_usd: z.withDescription(
    usd,
    'What caching has saved, against the same requests without it; negative where it has cost more.',
  ),
  usage: tokenCountsSchema,
  speed: speedSchema,
});

const dayOrMoment = z.nullable(z.union([z.iso.date(), z.iso.datetime({ offset: true })]));

/** What was spent between two days or times, the second exclusive. */
export const usageReportSchema = z.object({
  from: z.withDescription(dayOrMoment, 'What was summed: of all accounts whole days.'),
  to: dayOrMoment,
  group_by: z.string(),
  data: z.array(
    z.extend(usageTotalSchema, {
      key: z.withDescription(z.nullable(z.string()), 'The day, model, … of this group.'),
      last_day: z.optionalField(
        z.iso.date(),
        'Of all accounts, by agent, token, user and the like: the last day in UTC on which there was such a request.',
      ),
      calls: z.optionalField(
        count,
        'By tool: how often the edge has called it. `requests` are the steps that have taken up its results.',
      ),
      errors: z.optionalField(count, 'By tool: how many of these calls have failed.'),
      ms: z.optionalField(count, 'By tool: how long all of them took, in milliseconds.'),
    }),
  ),
  total: usageTotalSchema,
});

/** A credential that was minted here or seen in use, without the token itself. */
export const tokenRowSchema = z.object({
  jti: z.string(),
  label: z.nullable(z.string()),
  scopes: z.nullable(z.array(z.string())),
  minted_at: z.withDescription(z.nullable(time), 'null: issued elsewhere.'),
  first_seen_at: z.nullable(time),
  expires_at: z.nullable(time),
  revoked_at: z.nullable(time),
  limits: z.withDescription(z.nullable(tokenLimits), 'Its own, beside those of its account.'),
  spent_usd: z.withDescription(
    z.nullable(usd),
    'What its requests have cost; null for a token without limits of its own.',
  ),
});

/** Money that an account was given in addition to its limit usd_total. */
export const creditRowSchema = z.object({
  type: z.literal('credit'),
  id: z.string(),
  usd,
  spent_usd: z.withDescription(
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
  revoked: z.withDescription(z.string(), 'The jti, or `all`: everything that was issued until now.'),
});

export type BindingLimit = z.output<typeof bindingLimitSchema>;
/** A limit with what is used of it, before it is known whether that refuses. */
export type UsedLimit = Omit<BindingLimit, 'refuses'>;
export type BoundAccountAnswer = z.output<typeof boundAccountAnswer>;
export type QuotaReport = z.output<typeof quotaReportSchema>;
export type LedgerRow = z.output<typeof ledgerRowSchema> & PluginRowFields;
export type LedgerRequest = Omit<z.output<typeof ledgerRequestSchema>, 'tries'> &
  PluginRowFields & { tries: LedgerRow[] };
export type ListedRequest = z.output<typeof listedRequestSchema> & PluginRowFields;
export type UsageReport = z.output<typeof usageReportSchema>;
export type CreditRow = z.output<typeof creditRowSchema>;
export type TokenRow = z.output<typeof tokenRowSchema>;
