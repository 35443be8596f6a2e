import * as z from 'zod';
import { count, time, usd } from '../http/fields.ts';
import { limitsSchema } from './limits.ts';

const tokenCountsSchema = z.object({
  input_tokens: count.describe('Neither read from nor written to the cache.'),
  output_tokens: count,
  cache_read_input_tokens: count,
  cache_write_5m_input_tokens: count,
  cache_write_1h_input_tokens: count,
  thinking_tokens: count.describe('Of the output tokens.'),
  web_search_requests: count,
});

const meterSchema = z.object({
  limit: z.number(),
  remaining: z.number(),
  resets_at: time.describe('When the bucket is full again, if nothing else happens.'),
});

const spendSchema = z.object({
  window: z.string().describe('2026-11-20, 2026-W47 or 2026-11.'),
  limit_usd: usd.nullable(),
  settled_usd: usd,
  held_usd: usd.describe('Set aside for requests that are running.'),
  resets_at: time,
});

const storedSchema = z.object({ limit: z.int(), used: z.int() });

/** An account in the list of them. */
export const accountRow = z.object({ type: z.literal('account'), id: z.string() });

/** Where an account stands in every window and bucket. */
export const standingSchema = z.object({
  limits: limitsSchema.describe('The limits in force: the account’s own over the deployment’s.'),
  own_limits: limitsSchema.nullable(),
  day: spendSchema,
  week: spendSchema,
  month: spendSchema,
  requests: meterSchema.nullable(),
  input_tokens: meterSchema.nullable(),
  output_tokens: meterSchema.nullable(),
  count_requests: meterSchema.nullable(),
  running_requests: z.int(),
  conversations: storedSchema,
  stored_bytes: storedSchema.describe(
    'Of conversations (their databases, with the events of the last minutes), prefixes and classifiers.',
  ),
});

/** An account by itself. */
export const accountAnswer = accountRow.extend(standingSchema.shape);

/** How far an erasure has come; it goes on by itself. */
export const erasureAnswer = accountRow.extend({
  done: z.boolean(),
  remaining: z.int().describe('Rows and conversations that are still to be erased.'),
});

/** One request in an account's ledger. */
export const ledgerRowSchema = z.object({
  request_id: z.string(),
  created_at: time,
  settled_at: time.nullable(),
  route: z.string(),
  model: z.string(),
  answered_by: z.string().nullable().describe('The model that the upstream says it was.'),
  conversation: z.string().nullable(),
  prefix: z.string().nullable(),
  token: z.string().nullable().describe('The jti of the credential.'),
  status: z
    .string()
    .describe(
      'held, complete, cut, client_gone, refused_upstream, retried, orphaned, … `held` is a request that still runs.',
    ),
  stage: z.string().nullable().describe('The last stage that was reported.'),
  max_tokens: count.nullable(),
  hold_usd: usd,
  cost_usd: usd,
  usage: tokenCountsSchema,
  estimated: z.boolean().describe('The cost is not the upstream’s final word.'),
  over_hold: z.boolean().describe('The upstream billed more than was set aside.'),
  late: z.boolean().describe('Settled after the hold had expired; replaces the estimate.'),
  unpriced: z.boolean().describe('The model is not in the price table; the dearest row was used.'),
  stop_reason: z.string().nullable(),
  error_type: z.string().nullable(),
  upstream_request_id: z.string().nullable(),
  ttft_ms: z.number().nullable(),
  ms: z.number().nullable(),
});

/** One request by its id, with each of its tries: one that may have run is paid for, and so is the next. */
export const ledgerRequestSchema = ledgerRowSchema.extend({
  tries: z
    .array(ledgerRowSchema)
    .describe('The rows of all its tries, this one first: `<request_id>.2` is the second.'),
});

export const usageGroupSchema = z.enum(['day', 'model', 'conversation', 'prefix']);

const day = z.iso.date({ error: 'Input should be a day, YYYY-MM-DD' });

/** Which days are asked for: from the first, before the second. */
export const daysQuery = z.object({
  from: day.optional().describe('The first day, YYYY-MM-DD (UTC).'),
  to: day.optional().describe('The day after the last.'),
});

/** The query of an admin who asks for another account's. */
export const accountQuery = z.object({ account: z.string().optional().describe('An admin’s may be any account.') });

export const usageQuery = daysQuery.extend({ group_by: usageGroupSchema.default('day'), ...accountQuery.shape });

const usageTotalSchema = z.object({ requests: z.int(), cost_usd: usd, usage: tokenCountsSchema });

/** What was spent between two days, the second exclusive. */
export const usageReportSchema = z.object({
  from: z.iso.date().nullable(),
  to: z.iso.date().nullable(),
  group_by: usageGroupSchema,
  data: z.array(usageTotalSchema.extend({ key: z.string().nullable().describe('The day, model, … of this group.') })),
  total: usageTotalSchema,
});

/** A credential that was minted here or seen in use; never the token itself. */
export const tokenRowSchema = z.object({
  jti: z.string(),
  label: z.string().nullable(),
  scopes: z.array(z.string()).nullable(),
  minted_at: time.nullable().describe('null: issued elsewhere.'),
  first_seen_at: time.nullable(),
  expires_at: time.nullable(),
  revoked_at: time.nullable(),
});

/** What was revoked: one token, or all of an account. */
export const revokedAnswer = z.object({
  account: z.string(),
  revoked: z.string().describe('The jti, or `all`: everything that was issued until now.'),
});

export type TokenCountsReport = z.output<typeof tokenCountsSchema>;
export type StandingReport = z.output<typeof standingSchema>;
export type LedgerRequest = z.output<typeof ledgerRequestSchema>;
export type LedgerRow = z.output<typeof ledgerRowSchema>;
export type UsageGroup = z.output<typeof usageGroupSchema>;
export type UsageReport = z.output<typeof usageReportSchema>;
export type TokenRow = z.output<typeof tokenRowSchema>;
