/** The responses about accounts: limits, spending, credit, and rows of the ledger. */

import { count, createObjectTypeSchema, time, usd } from '../../kit/http/fields.ts';
import { CLIENT_FAMILIES } from '../../kit/http/headers/client-family.ts';
import * as z from '../../kit/http/zod.ts';
import { BLOCK_CAUSES, blockSchema, limitsSchema, tokenLimits, unpaidSearchesSchema } from '../budget/limits.schema.ts';
import type { PluginRowFields } from '../contracts/dimensions.ts';
import { loweredBySchema } from '../contracts/lowered-by.schema.ts';
import { outcomeCounts } from '../lists/batches-answers.schema.ts';

const tokenCountsSchema = z.object({
  input_tokens: z.addDescription(count, 'Input tokens that were neither read from nor written to the cache.'),
  output_tokens: z.addDescription(count, 'Output tokens, thinking included.'),
  cache_read_input_tokens: z.addDescription(count, 'Input tokens that were read from the cache.'),
  cache_write_5m_input_tokens: z.addDescription(count, 'Input tokens that were written to the cache for 5 minutes.'),
  cache_write_1h_input_tokens: z.addDescription(count, 'Input tokens that were written to the cache for 1 hour.'),
  thinking_tokens: z.addDescription(count, 'Output tokens that were thinking.'),
  web_search_requests: z.addDescription(count, 'Web searches by the API’s own tool.'),
});

const meterSchema = z.object({
  limit: z.addDescription(z.number(), 'The limit per minute.'),
  remaining: z.addDescription(z.number(), 'How much of the limit is left now.'),
  resets_at: z.addDescription(
    time,
    'When the whole limit is available again if no other request follows; ISO 8601, UTC.',
  ),
});

const spendSchema = z.object({
  window: z.addDescription(z.string(), 'The window, such as `2026-11-20T12`, `2026-11-20`, `2026-W47` or `2026-11`.'),
  limit_usd: z.addDescription(z.nullable(usd), 'The limit in US dollars. Null if there is no limit.'),
  settled_usd: z.addDescription(usd, 'The cost of settled requests, in US dollars.'),
  held_usd: z.addDescription(usd, 'The maximum cost of running requests, in US dollars.'),
  resets_at: z.addDescription(time, 'When the window ends; ISO 8601, UTC.'),
});

const totalSchema = z.object({
  limit_usd: z.addDescription(
    z.nullable(usd),
    'The limit `usd_total` plus credit, in US dollars. Null if there is no such limit.',
  ),
  settled_usd: z.addDescription(usd, 'The cost of settled requests, in US dollars.'),
  held_usd: z.addDescription(usd, 'The maximum cost of running requests, in US dollars.'),
  credit_usd: z.addDescription(
    usd,
    'How much credit adds to the limit, in US dollars. Expired credit counts as far as it was spent.',
  ),
});

/** A limit in USD that applies to an account, from any source, with the used amount. */
export const bindingLimitSchema = z.object({
  by: z.addDescription(
    z.enum(['account', 'token', 'group', 'deployment']),
    'Whose limit it is: that of the account, token, group or deployment.',
  ),
  id: z.addDescription(
    z.nullable(z.string()),
    'The name of the group, or the `jti` of the token. Null for the account and the deployment.',
  ),
  limit: z.addDescription(
    z.enum(['usd_per_hour', 'usd_per_day', 'usd_per_week', 'usd_per_month', 'usd_total']),
    'The name of the limit.',
  ),
  limit_usd: z.addDescription(usd, 'The limit in US dollars, including the credit for `usd_total`.'),
  prepaid: z.createOptionalField(z.literal(true), 'Only for a `usd_total` of 0: the whole `limit_usd` is credit.'),
  used_usd: z.addDescription(usd, 'How much of the limit is spent, in US dollars.'),
  resets_at: z.addDescription(
    z.nullable(time),
    'When the limit resets; ISO 8601, UTC. Null for `usd_total`, which does not reset.',
  ),
  refuses: z.addDescription(
    z.boolean(),
    'Whether the limit rejects requests: it is used up, at most a hundredth of a shared budget is left, or less is left than the last request needed, which was rejected.',
  ),
  insufficient_for: z.createOptionalField(
    z.string(),
    'The model of the last request, if it was rejected because it needed more than is left.',
  ),
});

const tokenQuotaSchema = z.object({
  limits: z.addDescription(tokenLimits, 'The token’s own limits.'),
  settled_usd: z.addDescription(usd, 'The cost of the token’s settled requests, in US dollars.'),
  held_usd: z.addDescription(usd, 'The maximum cost of the token’s running requests, in US dollars.'),
});

const storedSchema = z.object({
  limit: z.addDescription(z.int(), 'The maximum that can be stored.'),
  used: z.addDescription(z.int(), 'How much is stored.'),
});

export const blockedBy = z.addDescription(
  z.nullable(z.enum(BLOCK_CAUSES)),
  'What rejects all requests: `blocked` if an admin has blocked the account, otherwise the limit that is 0 or lists no models. Null if nothing does.',
);

export const accountRow = z.object({
  type: createObjectTypeSchema('account'),
  id: z.addDescription(z.string(), 'The name of the account: the `sub` of its tokens.'),
});

/** The quota status of an account, in every window and bucket. */
export const quotaReportSchema = z.object({
  erased_at: z.createOptionalField(time, 'When the account was last erased; ISO 8601, UTC. Absent if it never was.'),
  limits: z.addDescription(
    limitsSchema,
    'The limits in force: the account’s own, and the deployment’s defaults for the others.',
  ),
  own_limits: z.addDescription(
    z.nullable(limitsSchema),
    'The account’s own limits. Null if the account has only the deployment’s defaults.',
  ),
  group: z.addDescription(
    z.nullable(z.string()),
    'The group to which an admin has assigned the account. Null if no admin has assigned one.',
  ),
  blocked_by: blockedBy,
  block: z.addDescription(z.nullable(blockSchema), 'The block by an admin. Null if the account is not blocked.'),
  binds: z.addDescription(
    z.array(bindingLimitSchema),
    'The limits in US dollars that apply to the account, the most used one first: its own, the tightest of its tokens, and for an admin those of its group and of the deployment.',
  ),
  hour: z.addDescription(spendSchema, 'The current hour of the clock (UTC).'),
  day: z.addDescription(spendSchema, 'The current day (UTC).'),
  week: z.addDescription(spendSchema, 'The current week, from Monday (UTC).'),
  month: z.addDescription(spendSchema, 'The current calendar month (UTC).'),
  total: z.addDescription(totalSchema, 'Since the account’s first request.'),
  token: z.addDescription(
    z.nullable(tokenQuotaSchema),
    'The usage of the token that sent this request. Null if the token has no limits.',
  ),
  requests: z.addDescription(z.nullable(meterSchema), 'Requests per minute. Null if there is no limit.'),
  input_tokens: z.addDescription(
    z.nullable(meterSchema),
    'Input tokens per minute, without those read from the cache. Null if there is no limit.',
  ),
  output_tokens: z.addDescription(z.nullable(meterSchema), 'Output tokens per minute. Null if there is no limit.'),
  count_requests: z.addDescription(
    z.nullable(meterSchema),
    'Token-counting requests per minute. Null if there is no limit.',
  ),
  running_requests: z.addDescription(z.int(), 'The number of requests that are running.'),
  conversations: z.addDescription(storedSchema, 'The number of stored conversations.'),
  stored_bytes: z.addDescription(
    storedSchema,
    'The bytes of stored conversations (with the events of the last minutes), prefixes and classifiers.',
  ),
});

/** An account as its own route answers it. */
export const accountAnswer = z.extend(accountRow, {
  ...quotaReportSchema.shape,
  unpaid_searches: unpaidSearchesSchema,
});

const usedSchema = z.nullable(
  z.object({ used: z.addDescription(z.number(), 'The used share of the limit, from 0 to 1.') }),
);

const usedInWindow = z.nullable(
  z.object({
    used: z.addDescription(z.number(), 'The used share of the limit, from 0 to 1.'),
    resets_at: z.addDescription(time, 'When the window ends; ISO 8601, UTC.'),
  }),
);

/** An account as a page's restricted token sees it: shares and times, and no amount. null: no limit in USD. */
export const boundAccountAnswer = z.extend(accountRow, {
  hour: z.addDescription(usedInWindow, 'The hourly limit. Null if there is no such limit.'),
  day: z.addDescription(usedInWindow, 'The daily limit. Null if there is no such limit.'),
  week: z.addDescription(usedInWindow, 'The weekly limit. Null if there is no such limit.'),
  month: z.addDescription(usedInWindow, 'The monthly limit. Null if there is no such limit.'),
  total: z.addDescription(usedSchema, 'The limit `usd_total` plus credit. Null if there is no such limit.'),
  token: z.addDescription(usedSchema, 'The limit of the token that sent this request. Null if the token has no limit.'),
});

/** The progress of an erasure, which continues by itself. */
export const erasureAnswer = z.extend(accountRow, {
  done: z.addDescription(z.boolean(), 'Whether everything is erased.'),
  remaining: z.addDescription(z.int(), 'The number of rows and conversations that are still to be erased.'),
});

/** An account that was erased. */
export const erasureRow = z.object({
  type: createObjectTypeSchema('erasure'),
  account: z.addDescription(z.string(), 'The erased account.'),
  erased_at: z.addDescription(time, 'When the account was last erased; ISO 8601, UTC.'),
});

export const ledgerRowSchema = z.object({
  request_id: z.addDescription(z.string(), 'The id of the request, as in the header `sluice-request-id`.'),
  created_at: z.addDescription(time, 'When the request was admitted; ISO 8601, UTC.'),
  settled_at: z.addDescription(
    z.nullable(time),
    'When the cost was settled; ISO 8601, UTC. Null if the request is running.',
  ),
  route: z.addDescription(z.string(), 'The kind of request, such as `messages`.'),
  model: z.addDescription(z.string(), 'The id of the requested model.'),
  answered_by: z.addDescription(
    z.nullable(z.string()),
    'The id of the model that responded, as reported by the upstream. Null if no model responded.',
  ),
  conversation: z.addDescription(
    z.nullable(z.string()),
    'The id of the conversation. Null if the request has no conversation.',
  ),
  prefix: z.addDescription(
    z.nullable(z.string()),
    'The version of the prefix, `name@version`. Null if the request has no prefix.',
  ),
  agent: z.addDescription(
    z.nullable(z.string()),
    'The version of the agent, `name@version`. Null if the request has no agent.',
  ),
  token: z.addDescription(
    z.nullable(z.string()),
    'The `jti` of the token that sent the request. Null if the credential has no `jti`.',
  ),
  tags: z.addDescription(
    z.record(z.string(), z.string()),
    'The tags of the request: the token’s claim `tags`, otherwise the header `sluice-tags`.',
  ),
  user: z.addDescription(
    z.nullable(z.string()),
    'A pseudonym of `metadata.user_id`: the first 32 digits of the SHA-256 of `sluice user ` followed by the id. Null if the request has no user id.',
  ),
  status: z.addDescription(
    z.string(),
    'How the request ended, for example `complete`, `cut`, `client_gone`, `refused_upstream`, `retried` or `orphaned`; `held` while it is running.',
  ),
  stage: z.addDescription(
    z.nullable(z.string()),
    'The last stage of processing that was reported. Null if no stage was reported.',
  ),
  max_tokens: z.addDescription(
    z.nullable(count),
    'The `max_tokens` that was sent to the upstream. Null if no `max_tokens` was sent.',
  ),
  lowered_by: z.addDescription(
    z.nullable(loweredBySchema),
    'The limit that lowered `max_tokens` or set `max_uses`. Null if no limit did.',
  ),
  hold_usd: z.addDescription(usd, 'The maximum cost that was held for the request, in US dollars.'),
  cost_usd: z.addDescription(usd, 'The cost of the request, in US dollars.'),
  usage: z.addDescription(tokenCountsSchema, 'The tokens that the request used.'),
  estimated: z.addDescription(
    z.boolean(),
    'Whether the cost is an estimate because the upstream’s final usage is missing.',
  ),
  over_hold: z.addDescription(z.boolean(), 'Whether the upstream billed more than was held.'),
  late: z.addDescription(
    z.boolean(),
    'Whether the cost was settled after the hold had expired. It replaces the estimate.',
  ),
  unpriced: z.addDescription(
    z.boolean(),
    'Whether the model has no price in the table, so that the most expensive price was used.',
  ),
  stop_reason: z.addDescription(
    z.nullable(z.string()),
    'Why the response ended, for example `end_turn`. Null if the response failed or was stopped.',
  ),
  error_type: z.addDescription(
    z.nullable(z.string()),
    'The type of the error, such as `overloaded_error`. Null if the request succeeded.',
  ),
  error_message: z.addDescription(
    z.nullable(z.string()),
    'Why the request failed, if the error began with a sentence of the Claude API that Sluice knows, for example `prompt is too long: 210000 tokens > 200000 maximum`. Never text that quotes the request or comes from another server. Only callers with the scope `admin:read` receive sentences about the deployment’s key. Otherwise null.',
  ),
  upstream_request_id: z.addDescription(
    z.nullable(z.string()),
    'The upstream’s id of the request, as in its header `request-id`. Null if the upstream returned no id.',
  ),
  upstream: z.addDescription(
    z.nullable(z.string()),
    'The name of the upstream that responded. Null if the deployment has only one.',
  ),
  failed_upstreams: z.addDescription(
    z.array(z.string()),
    'The names of the upstreams that failed before another one responded.',
  ),
  ttft_ms: z.addDescription(
    z.nullable(z.number()),
    'Milliseconds from sending the request upstream to the first byte. Null if no byte was received.',
  ),
  waited_ms: z.addDescription(
    z.nullable(z.number()),
    'Milliseconds that the request waited for its account and budgets before it was sent. Null if unknown.',
  ),
  ms: z.addDescription(
    z.nullable(z.number()),
    'The duration of the request in milliseconds. Null if the request is running.',
  ),
  batch: z.addDescription(
    z.nullable(z.string()),
    'The id of the batch, which has one row for each of its models. Null if the request is not a batch.',
  ),
  outcomes: z.addDescription(
    z.nullable(outcomeCounts),
    'How many requests of a batch ended with each outcome. Null if the row is not a batch’s, or the batch has not ended.',
  ),
});

const refusalSchema = z.object({
  limited_by: z.addDescription(
    z.string(),
    'Whose limit it was, as in the header `sluice-limited-by`. Empty if a shared budget was too busy.',
  ),
  group: z.createOptionalField(z.string(), 'The name of the group, if the limit is a group’s.'),
  limit: z.addDescription(
    z.string(),
    'The name of the limit, such as `usd_per_day`. Empty if a shared budget was too busy.',
  ),
  reason: z.addDescription(
    z.enum(['model', 'unpriced', 'requests', 'concurrency', 'rate', 'spend', 'held', 'storage']),
    'Why the request was rejected. `model`: the model is not allowed; `unpriced`: its price is unknown; `requests`: the token has used all its requests; `concurrency`; `rate`; `spend`: the budget is used up; `held`: running requests hold the budget; `storage`.',
  ),
  never: z.addDescription(z.boolean(), 'Whether the request would be rejected even if nothing were used.'),
  message: z.addDescription(z.string(), 'The error message that the caller received.'),
});

/** A request in a list of them. */
export const listedRequestSchema = z.extend(ledgerRowSchema, {
  account: z.createOptionalField(z.string(), 'The account that sent the request. Only in lists of all accounts.'),
  refusal: z.addDescription(z.optional(refusalSchema), 'Why the request was rejected. Only with `outcome=refused`.'),
});

/** The fields of a list of requests beside its rows. */
export const ownerOfListSchema = z.addDescription(
  z.nullable(z.string()),
  'The account that sent the requests. Null if the list covers all accounts.',
);

/** One request by its id, with each of its attempts. Every attempt that may have run is billed. */
export const ledgerRequestSchema = z.extend(ledgerRowSchema, {
  account: z.createOptionalField(z.string(), 'The account that sent the request. Only for admins.'),
  tries: z.addDescription(
    z.array(ledgerRowSchema),
    'The rows of all attempts, this one first: `<request_id>.2` is the second. A batch has one row for each of its models.',
  ),
  refusal: z.addDescription(
    z.nullable(refusalSchema),
    'Why the request was rejected. Null if the request was not rejected.',
  ),
});

/** How fast requests were: counts and sums, so that those of several groups can be added. */
const speedSchema = z.object({
  timed_requests: z.addDescription(count, 'The number of streams that sent a first event.'),
  ttft_ms: z.addDescription(count, 'The sum of the milliseconds to their first events.'),
  ttft_within_ms: z.addDescription(
    z.record(z.string(), count),
    'A cumulative histogram: how many of these streams sent their first event within 250, 500, 1000, 2500, 5000, 10000 and 30000 milliseconds.',
  ),
  streamed_tokens: z.addDescription(count, 'The output tokens of complete streams.'),
  streamed_ms: z.addDescription(
    count,
    'The total time from the first to the last event of these streams, in milliseconds. Slow clients increase the time. Tokens per second are `streamed_tokens / streamed_ms * 1000`.',
  ),
  waited_requests: z.addDescription(count, 'The number of requests whose waiting time before they were sent is known.'),
  waited_ms: z.addDescription(
    count,
    'The sum of the milliseconds that these requests waited for their accounts and budgets before they were sent.',
  ),
  waited_within_ms: z.addDescription(
    z.record(z.string(), count),
    'A cumulative histogram: how many of these requests waited at most 100, 500, 1000, 5000, 10000 and 30000 milliseconds.',
  ),
});

const usageTotalSchema = z.object({
  requests: z.addDescription(z.int(), 'The number of requests.'),
  failed: z.addDescription(count, 'The number of requests with an `error_type`.'),
  cost_usd: z.addDescription(usd, 'The cost of the requests, in US dollars.'),
  saved_usd: z.addDescription(usd, 'How much caching saved, in US dollars. It is negative if caching cost more.'),
  usage: z.addDescription(tokenCountsSchema, 'The tokens that the requests used.'),
  speed: z.addDescription(
    speedSchema,
    'How long requests waited, and how fast responses streamed, as counts and sums that can be added up.',
  ),
});

const dayOrMoment = z.nullable(z.union([z.iso.date(), z.iso.datetime({ offset: true })]));

/** What was spent between two days or times, the second exclusive. */
export const usageReportSchema = z.object({
  from: z.addDescription(
    dayOrMoment,
    'The first day or time of the report, inclusive; reports of all accounts cover whole days. Null if there is no lower bound.',
  ),
  to: z.addDescription(dayOrMoment, 'The last day or time of the report, exclusive. Null if there is no upper bound.'),
  group_by: z.addDescription(z.string(), 'The dimension by which requests are grouped.'),
  data: z.addDescription(
    z.array(
      z.extend(usageTotalSchema, {
        key: z.addDescription(
          z.nullable(z.string()),
          'The value of the dimension, such as a day or a model. Null for requests without a value.',
        ),
        last_day: z.createOptionalField(
          z.iso.date(),
          'The last day (UTC) with such a request. Only in reports of all accounts by agent, token, user and the like.',
        ),
        account: z.createOptionalField(
          z.string(),
          'The account of the token. Only in reports of all accounts by token.',
        ),
        calls: z.createOptionalField(
          count,
          'Only by tool: how often Sluice called it. `requests` counts the steps that received its results.',
        ),
        errors: z.createOptionalField(count, 'Only by tool: how many of these calls failed.'),
        ms: z.createOptionalField(count, 'Only by tool: the duration of all calls, in milliseconds.'),
      }),
    ),
    'A row for each value of the dimension.',
  ),
  total: z.addDescription(usageTotalSchema, 'The sums of all requests in the report.'),
});

/** The location from which a token was used in an hour. */
const tokenLocation = z.object({
  hour: z.addDescription(time, 'The beginning of the hour; ISO 8601, UTC.'),
  country: z.addDescription(
    z.nullable(z.string()),
    'The country by its ISO 3166-1 code, or `T1` for Tor. Null if unknown.',
  ),
  asn: z.addDescription(z.nullable(z.int()), 'The number of the network (autonomous system). Null if unknown.'),
  client: z.addDescription(z.enum(CLIENT_FAMILIES), 'The kind of client, according to the client itself.'),
});

/** A credential that was minted here or seen in use, without the token itself. */
export const tokenRowSchema = z.object({
  jti: z.addDescription(z.string(), 'The id of the token.'),
  label: z.addDescription(
    z.nullable(z.string()),
    'The label that the token was created with. Null if the token has no label.',
  ),
  scopes: z.addDescription(z.nullable(z.array(z.string())), 'The scopes of the token. Null if unknown.'),
  minted_at: z.addDescription(
    z.nullable(time),
    'When the token was created; ISO 8601, UTC. Null if another service issued the token.',
  ),
  first_seen_at: z.addDescription(
    z.nullable(time),
    'When the token was first used; ISO 8601, UTC. Null if the token has not been used yet.',
  ),
  last_seen_at: z.createOptionalField(
    z.nullable(time),
    'When the token was last used, at most an hour too early; ISO 8601, UTC. Only for tokens with `admin`, or a scope that begins with `admin:`.',
  ),
  expires_at: z.addDescription(
    z.nullable(time),
    'When the token expires; ISO 8601, UTC. Null if the token does not expire.',
  ),
  revoked_at: z.addDescription(
    z.nullable(time),
    'When the token was revoked; ISO 8601, UTC. Null if the token is not revoked.',
  ),
  limits: z.addDescription(
    z.nullable(tokenLimits),
    'The token’s own limits, in addition to those of its account. Null if the token has no limits of its own.',
  ),
  spent_usd: z.addDescription(
    z.nullable(usd),
    'The cost of the token’s requests, in US dollars. Null if the token has no limits of its own.',
  ),
  locations: z.addDescription(
    z.array(tokenLocation),
    'From where the token was used in the last `RETENTION_DAYS`, the newest first: at most 8 in an hour, at most 500 in `GET /tokens/:jti`, and the last 5 in lists. Empty for visitors, sessions and restricted tokens, and if `TOKEN_LOCATIONS` is `false`.',
  ),
});

/** A token, with the account that it is for. */
export const ownedTokenRowSchema = z.extend(tokenRowSchema, {
  account: z.addDescription(z.string(), 'The account that the token is for.'),
});

/** Money that an account was given in addition to its limit usd_total. */
export const creditRowSchema = z.object({
  type: createObjectTypeSchema('credit'),
  id: z.addDescription(z.string(), 'The id of the credit, such as `credit_0b6f7c0e-3f1e-4a55-9b8e-2f6f0f3d7c11`.'),
  usd: z.addDescription(usd, 'The amount in US dollars. Negative: credit that was taken back.'),
  spent_usd: z.addDescription(
    usd,
    'How much of the credit is spent, in US dollars. The credit that expires first is spent first; credit that does not expire is spent after `usd_total`.',
  ),
  left_usd: z.addDescription(usd, 'How much of the credit is left, in US dollars.'),
  note: z.addDescription(
    z.nullable(z.string()),
    'The note of the admin who gave the credit. Null if the credit has no note.',
  ),
  created_at: z.addDescription(time, 'When the credit was given; ISO 8601, UTC.'),
  expires_at: z.addDescription(
    z.nullable(time),
    'When the credit expires; ISO 8601, UTC. Null if the credit does not expire.',
  ),
});

/** What was revoked: one token, or all of an account. */
export const revokedAnswer = z.object({
  account: z.addDescription(z.string(), 'The account of the revoked tokens.'),
  revoked: z.addDescription(z.string(), 'The `jti` of the revoked token, or `all` for all tokens issued until now.'),
});

export type SpendLimitUsage = z.output<typeof bindingLimitSchema>;
/** A limit with what is used of it, before it is known whether that rejects. */
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
export type OwnedTokenRow = z.output<typeof ownedTokenRowSchema>;
