import * as z from '../http/zod.ts';
import { DIMENSIONS } from '../pricing/usage-sums.ts';

export const usageGroupSchema = z.enum([
  'day',
  'model',
  'token',
  'user',
  'tag',
  'conversation',
  'prefix',
  'agent',
  'upstream',
  'tool',
  'account',
  'group',
]);

const DAY_FAULT = 'Input should be a day, YYYY-MM-DD';
const day = z
  .string({ error: DAY_FAULT })
  .check(z.regex(/^\d{4}-\d\d-\d\d$/, { error: DAY_FAULT, abort: true }), z.refine(isInCalendar, DAY_FAULT));

/** The days of a query: from the first (inclusive) to the second (exclusive). */
export const daysQuery = z.object({
  from: z.optionally(day, 'The first day, YYYY-MM-DD (UTC).'),
  to: z.optionally(day, 'The day after the last.'),
});

/** The query by which an admin names another account. */
export const accountQuery = z.object({
  account: z.optionally(z.string(), 'An admin’s may be any account.'),
});

/** Which requests of a ledger are listed. */
export const requestsQuery = z.object({
  ...daysQuery.shape,
  status: z.described(
    z.optional(z.literal('refused')),
    '`refused`: those that this edge has refused, each with its reason, in place of the ledger’s; the last 1,000.',
  ),
  ...accountQuery.shape,
});

export const usageQuery = z.object({
  ...daysQuery.shape,
  group_by: z._default(usageGroupSchema, 'day'),
  group: z.optionally(z.string(), 'Only of what this group has paid for. For an admin.'),
  format: z.described(z._default(z.enum(['json', 'csv']), 'json'), 'csv has a line for each group, without the total.'),
  ...accountQuery.shape,
});

/** Groupings that only the deployment's pool can sum by, and not a single account. */
const SHARED_GROUPS = ['account', 'group'] as const;
/** Groupings that the deployment's pool can sum by. */
const REPORTED_GROUPS = [...SHARED_GROUPS, 'day', 'model', ...DIMENSIONS] as const;

/** @returns whether a grouping is over all accounts. */
export function isSharedGroup(group: UsageGroup): group is (typeof SHARED_GROUPS)[number] {
  return (SHARED_GROUPS as readonly string[]).includes(group);
}

/** @returns whether accounts report what this grouping needs. */
export function isReportedGroup(group: UsageGroup): group is (typeof REPORTED_GROUPS)[number] {
  return (REPORTED_GROUPS as readonly string[]).includes(group);
}

/** The query of the list of accounts: in the order of their names, or by what they have spent. */
export const accountsQuery = z.object({
  sort: z.described(
    z._default(z.enum(['name', 'spent']), 'name'),
    '`spent`: the dearest first, with spent, limit and last use; told within a minute.',
  ),
  period: z.described(z._default(z.enum(['day', 'week', 'month']), 'month'), 'The window that `spent` sorts by.'),
});

export type AccountUsageGroup = Exclude<UsageGroup, (typeof SHARED_GROUPS)[number]>;

export type UsageGroup = z.output<typeof usageGroupSchema>;

function isInCalendar(day: string): boolean {
  const date = new Date(day);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day);
}
