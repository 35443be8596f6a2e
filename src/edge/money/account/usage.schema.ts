/** The queries and bodies of the routes of accounts and usage. */

import { time } from '../../kit/http/fields.ts';
import { limitSchema } from '../../kit/http/page.ts';
import * as z from '../../kit/http/zod.ts';
import { memoizeFromPlugins } from '../../kit/plugins/plugins.ts';
import { groupings } from '../contracts/dimensions.ts';

const OWN_GROUPS = ['day', 'model', 'token', 'user', 'tag', 'conversation', 'prefix'] as const;
const LAST_GROUPS = ['upstream', 'tool', 'account', 'group'] as const;

/** The groupings of usage. Groupings of plugins may have any name. */
export const usageGroupSchema = memoizeFromPlugins(() => {
  const own: readonly string[] = [...OWN_GROUPS, ...LAST_GROUPS];
  const ofPlugin = groupings().flatMap(({ group }) => (own.includes(group) ? [] : [group]));
  return z.enum([...OWN_GROUPS, ...ofPlugin, ...LAST_GROUPS]);
});

const TIME_ERROR = 'Input should be a day, YYYY-MM-DD, or a time such as 2026-11-20T10:14:00Z';
/** A day or a time of a query. */
export const dayOrTime = z
  .string({ error: TIME_ERROR })
  .check(
    z.regex(/^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/, { error: TIME_ERROR, abort: true }),
    z.refine(isCalendarDate, TIME_ERROR),
  );

/** The time of a query: from the first (inclusive) to the second (exclusive). */
const daysQuery = z.object({
  from: z.createOptionalField(dayOrTime, 'The first day, YYYY-MM-DD (UTC), or a time: 2026-11-20T10:14:00Z.'),
  to: z.createOptionalField(dayOrTime, 'The day after the last day, or a time.'),
});

/** The query by which an admin names another account. */
export const accountQuery = z.object({
  account: z.createOptionalField(z.string(), 'The account. Only admins can name another account.'),
});

/** An erasure of another deployment. */
export const erasureRequest = z.strictObject({
  erased_at: z.addDescription(
    time,
    'Data and tokens that are not newer than this time are erased and revoked; ISO 8601, UTC.',
  ),
});

/** The query for an account that may not exist yet. */
export const absentQuery = z.object({
  if_absent: z.createOptionalField(
    z.literal('empty'),
    '`empty` returns an unused account instead of a 404 if the account does not exist.',
  ),
});

export const requestsQuery = z.object({
  ...daysQuery.shape,
  outcome: z.createOptionalField(
    z.enum(['refused', 'failed']),
    '`failed` returns only requests with an `error_type`. `refused` returns the requests that a limit rejected, each with its reason: the last 1,000 of an account. Lists of all accounts are updated within a minute.',
  ),
  token: z.createOptionalField(
    z.string(),
    'Only requests with this token, by its `jti`. With `outcome`, admins must also send the `account`.',
  ),
  accounts_after: z.createOptionalField(
    z.string().check(z.minLength(1)),
    'The `accounts_after` of the previous page, to continue with the remaining accounts.',
  ),
  ...accountQuery.shape,
  ...absentQuery.shape,
});

export const usageQuery = memoizeFromPlugins(() =>
  z.object({
    ...daysQuery.shape,
    group_by: z._default(usageGroupSchema(), 'day'),
    group: z.createOptionalField(z.string(), 'Only requests that this group paid for. Only for admins.'),
    key: z.createOptionalField(
      z.string(),
      'Only this value of the dimension: with `group_by=agent`, an agent’s name, which sums all versions, or a version (`name@version`).',
    ),
    limit: z.createOptionalField(
      limitSchema,
      'The most rows to return: the most expensive ones, or the earliest days. The total includes all rows.',
    ),
    format: z.addDescription(
      z._default(z.enum(['json', 'csv']), 'json'),
      '`csv` returns a line for each row, without the total.',
    ),
    ...accountQuery.shape,
    ...absentQuery.shape,
  }),
);

/** Groupings that only the deployment's pool can sum by, and not a single account. */
const SHARED_GROUPS: readonly string[] = ['account', 'group'];

export function isSharedBudgetGrouping(group: string): boolean {
  return SHARED_GROUPS.includes(group);
}

/** @returns whether accounts report what this grouping needs. */
export function isReportedGrouping(group: string): boolean {
  return (
    ['day', 'model'].includes(group) || isSharedBudgetGrouping(group) || groupings().some((one) => one.group === group)
  );
}

/** The query of the list of accounts: in the order of their names, or of something else. */
export const accountsQuery = z.object({
  sort: z.addDescription(
    z._default(z.enum(['name', 'spent', 'limit', 'used', 'refused', 'last_seen', 'group']), 'name'),
    'The order: the largest values first, names and groups alphabetically. `used` is the spent share of the account’s tightest limit, with blocked accounts first. `refused` is `refused_today`.',
  ),
  period: z.addDescription(
    z._default(z.enum(['day', 'week', 'month']), 'month'),
    'The window that `sort=spent` and `sort=limit` use.',
  ),
});

export type UsageReportGrouping = (typeof OWN_GROUPS | typeof LAST_GROUPS)[number] | (string & {});

function isCalendarDate(time: string): boolean {
  const day = time.slice(0, 10);
  const date = new Date(day);
  return !Number.isNaN(Date.parse(time)) && !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day);
}
