import { createObjectTypeSchema, time, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { bindingLimitSchema, blockedBy, type usageReportSchema } from '../../money/account/usage-answers.schema.ts';
import { poolLimitsSchema, unpaidSearchesSchema } from '../../money/budget/limits.schema.ts';

const sharedSpendSchema = z.object({
  window: z.addDescription(z.string(), '2026-11-20T12, 2026-11-20, 2026-W47 or 2026-11.'),
  limit_usd: z.nullable(usd),
  spent_usd: z.addDescription(usd, 'Settled, as accounts have told: a busy one tells it within a minute.'),
  leased_usd: z.addDescription(usd, 'Set aside for requests that are running, and for what comes next.'),
  resets_at: time,
});

const sharedTotalSchema = z.omit(sharedSpendSchema, { resets_at: true });

const sharedWindows = {
  hour: sharedSpendSchema,
  day: sharedSpendSchema,
  week: sharedSpendSchema,
  month: sharedSpendSchema,
  total: z.addDescription(sharedTotalSchema, 'Since the first request of each account.'),
};

/** The limits in USD of a shared budget. */
const binds = z.addDescription(z.array(bindingLimitSchema), 'Its limits in USD, the one that is used up most first.');

/** The status of a shared budget. */
const poolQuotaSchema = z.object({ limits: poolLimitsSchema, ...sharedWindows });

/** What all accounts have spent, and their shared budget. `limits` is null if they share none. */
export const deploymentAnswer = z.object({
  type: createObjectTypeSchema('pool'),
  id: z.literal('deployment'),
  limits: z.nullable(poolLimitsSchema),
  ...sharedWindows,
  binds,
  unpaid_searches: unpaidSearchesSchema,
});

/** A group, as its own route and the list of groups answer it. */
export const groupAnswer = z.object({
  type: createObjectTypeSchema('group'),
  id: z.string(),
  ...poolQuotaSchema.shape,
  binds,
  unpaid_searches: unpaidSearchesSchema,
});

export const membershipAnswer = z.object({ account: z.string(), group: z.nullable(z.string()) });

const createPerPeriodSchema = <T extends z.ZodMiniType>(schema: T) =>
  z.object({ day: schema, week: schema, month: schema });

/** What an account has spent, in the list by what was spent. */
export const accountSpendRow = z.object({
  type: createObjectTypeSchema('account'),
  id: z.string(),
  group: z.addDescription(z.nullable(z.string()), 'The group that an admin has chosen.'),
  spent_usd: createPerPeriodSchema(usd),
  limit_usd: z.addDescription(createPerPeriodSchema(z.nullable(usd)), 'The limits in force.'),
  tightest: z.addDescription(
    z.nullable(bindingLimitSchema),
    'Of the limits in USD of the account, its tokens, its group and, once it is spent, of all accounts the one that is used up most; null where there is none.',
  ),
  blocked_by: blockedBy,
  refused_today: z.addDescription(
    z.int(),
    'Requests of this day in UTC that a limit has refused, told within a minute.',
  ),
  last_seen_at: z.addDescription(z.nullable(time), 'Its last request, told within a minute.'),
});

export type DeploymentReport = z.output<typeof deploymentAnswer>;
export type GroupReport = z.output<typeof groupAnswer>;
export type PoolQuotaReport = z.output<typeof poolQuotaSchema>;
export type AccountSpendRow = z.output<typeof accountSpendRow>;
export type SharedUsageReport = z.output<typeof usageReportSchema>;
