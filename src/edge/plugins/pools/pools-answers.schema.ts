import { createObjectTypeSchema, time, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { bindingLimitSchema, blockedBy, type usageReportSchema } from '../../money/account/usage-answers.schema.ts';
import { poolLimitsSchema, unpaidSearchesSchema } from '../../money/budget/limits.schema.ts';

const sharedSpendSchema = z.object({
  window: z.addDescription(z.string(), 'The window, such as `2026-11-20T12`, `2026-11-20`, `2026-W47` or `2026-11`.'),
  limit_usd: z.addDescription(z.nullable(usd), 'The limit in US dollars. Null if there is no limit.'),
  spent_usd: z.addDescription(usd, 'Settled spending in US dollars, updated within a minute.'),
  leased_usd: z.addDescription(usd, 'US dollars that accounts hold for running requests and the next ones.'),
  resets_at: z.addDescription(time, 'When the window ends; ISO 8601, UTC.'),
});

const sharedTotalSchema = z.omit(sharedSpendSchema, { resets_at: true });

const sharedWindows = {
  hour: z.addDescription(sharedSpendSchema, 'The current hour of the clock (UTC).'),
  day: z.addDescription(sharedSpendSchema, 'The current day (UTC).'),
  week: z.addDescription(sharedSpendSchema, 'The current week, from Monday (UTC).'),
  month: z.addDescription(sharedSpendSchema, 'The current calendar month (UTC).'),
  total: z.addDescription(sharedTotalSchema, 'Since the first request of each account.'),
};

/** The limits in USD of a shared budget. */
const binds = z.addDescription(
  z.array(bindingLimitSchema),
  'The limits in US dollars of this budget, the most used one first.',
);

/** The status of a shared budget. */
const poolQuotaSchema = z.object({
  limits: z.addDescription(poolLimitsSchema, 'The limits of the budget.'),
  ...sharedWindows,
});

/** What all accounts have spent, and their shared budget. `limits` is null if they share none. */
export const deploymentAnswer = z.object({
  type: createObjectTypeSchema('pool'),
  id: z.addDescription(z.literal('deployment'), 'Always `deployment`.'),
  limits: z.addDescription(
    z.nullable(poolLimitsSchema),
    'The limits that all accounts share. Null if accounts share no budget.',
  ),
  ...sharedWindows,
  binds,
  unpaid_searches: unpaidSearchesSchema,
});

/** A group, as its own route and the list of groups answer it. */
export const groupAnswer = z.object({
  type: createObjectTypeSchema('group'),
  id: z.addDescription(z.string(), 'The name of the group.'),
  ...poolQuotaSchema.shape,
  binds,
  refused_today: z.addDescription(
    z.int(),
    'Requests of the current day (UTC) that the limits of the group rejected, updated within a minute.',
  ),
  unpaid_searches: unpaidSearchesSchema,
});

export const membershipAnswer = z.object({
  account: z.addDescription(z.string(), 'The account.'),
  group: z.addDescription(
    z.nullable(z.string()),
    'The group that the account is now in. Null if the account is in no group.',
  ),
});

const createPerPeriodSchema = <T extends z.ZodMiniType>(schema: T) =>
  z.object({ day: schema, week: schema, month: schema });

/** The spending of an account, in the list that is sorted by spending. */
export const accountSpendRow = z.object({
  type: createObjectTypeSchema('account'),
  id: z.addDescription(z.string(), 'The name of the account.'),
  group: z.addDescription(
    z.nullable(z.string()),
    'The group to which an admin has assigned the account. Null if no admin has assigned one.',
  ),
  spent_usd: z.addDescription(
    createPerPeriodSchema(usd),
    'The spending in the current day, week and month, in US dollars.',
  ),
  limit_usd: z.addDescription(
    createPerPeriodSchema(z.nullable(usd)),
    'The limits in force, in US dollars. Null for each limit that is not set.',
  ),
  tightest: z.addDescription(
    z.nullable(bindingLimitSchema),
    'The most used limit in US dollars that applies to the account: its own, those of its tokens and its group, and the deployment’s once it is used up. Null if no such limit applies.',
  ),
  blocked_by: blockedBy,
  refused_today: z.addDescription(
    z.int(),
    'Requests of the current day (UTC) that a limit rejected, updated within a minute.',
  ),
  last_seen_at: z.addDescription(
    z.nullable(time),
    'When the account last sent a request, updated within a minute; ISO 8601, UTC. Null if the account has not sent a request.',
  ),
});

export type DeploymentReport = z.output<typeof deploymentAnswer>;
export type GroupReport = z.output<typeof groupAnswer>;
export type PoolQuotaReport = z.output<typeof poolQuotaSchema>;
export type AccountSpendRow = z.output<typeof accountSpendRow>;
export type SharedUsageReport = z.output<typeof usageReportSchema>;
