import { count, instant } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { poolLimitsSchema } from '../../money/budget/limits.schema.ts';

const LONGEST_WINDOW_ID = 16;

const sumsByWindow = z.addDescription(
  z.record(z.string().check(z.maxLength(LONGEST_WINDOW_ID)), z.strictObject({ end: instant, spent: count })),
  'Nanodollars by window: what was spent that the backups of accounts do not contain.',
);
const sharedLimits = z.nullable(poolLimitsSchema);

/** The backup of the budget that all accounts share. Times are milliseconds since 1970. */
export const deploymentBackup = z.strictObject({
  type: z.literal('deployment_backup'),
  limits: z.addDescription(sharedLimits, 'The limits in force; null if accounts share no budget.'),
  spent: sumsByWindow,
});

/** The backup of the budget of a group. */
export const groupBackup = z.strictObject({
  type: z.literal('group_backup'),
  id: z.string(),
  limits: sharedLimits,
  spent: sumsByWindow,
});

/** The accounts of a group, by what they have spent in a window. */
export const membersQuery = z.object({
  period: z.addDescription(
    z._default(z.enum(['day', 'week', 'month']), 'month'),
    'The window that they are sorted by.',
  ),
});
