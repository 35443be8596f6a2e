import { count, createObjectTypeSchema, instant } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { poolLimitsSchema } from '../../money/budget/limits.schema.ts';

const LONGEST_WINDOW_ID = 16;

const sumsByWindow = z.addDescription(
  z.record(
    z.string().check(z.maxLength(LONGEST_WINDOW_ID)),
    z.strictObject({
      end: z.addDescription(instant, 'The end of the window; milliseconds since 1970.'),
      spent: z.addDescription(count, 'The spending in the window, in nanodollars (1 US dollar is 1,000,000,000).'),
    }),
  ),
  'Spending by window that the backups of accounts do not contain. The keys are windows, such as `2026-11`.',
);
const sharedLimits = z.nullable(poolLimitsSchema);

/** The backup of the budget that all accounts share. Times are milliseconds since 1970. */
export const deploymentBackup = z.strictObject({
  type: createObjectTypeSchema('deployment_backup'),
  limits: z.addDescription(sharedLimits, 'The limits of the deployment. Null if accounts share no budget.'),
  spent: sumsByWindow,
});

/** The backup of the budget of a group. */
export const groupBackup = z.strictObject({
  type: createObjectTypeSchema('group_backup'),
  id: z.addDescription(z.string(), 'The name of the group.'),
  limits: z.addDescription(sharedLimits, 'The limits of the group. Null if the group has no limits.'),
  spent: sumsByWindow,
});

/** The accounts of a group, by their spending in a window. */
export const membersQuery = z.object({
  period: z.addDescription(
    z._default(z.enum(['day', 'week', 'month']), 'month'),
    'Sorts the accounts by their spending in this window.',
  ),
});
