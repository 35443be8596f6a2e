/** The setting VISITORS: what people without a login may do. Their tokens and their limits are the core's. */

import { isGroupName } from '../auth/identity/identity.ts';
import { onlySchema } from '../auth/identity/only.ts';
import { DAY_MS } from '../kit/async/durations.ts';
import * as z from '../kit/http/zod.ts';
import { limitsSchema, poolLimitsSchema } from '../money/budget/limits.schema.ts';

/** It counts from when the widget was solved, which may be five minutes ago. */
const MIN_VISIT_S = 600;
/** The longest that a visitor may be known, in seconds. */
export const MAX_VISIT_S = (30 * DAY_MS) / 1_000;

export const visitorsSchema = z.strictObject({
  /** Which pages may be visited is never left open. */
  only: onlySchema.check(
    z.refine(({ origins }) => origins !== undefined, 'requires `origins`, the origins of the pages for visitors'),
  ),
  limits: z._default(limitsSchema, {}),
  /** The group whose pool pays for all of them. */
  group: z._default(z.custom<string>(isGroupName, 'must be 1 to 128 characters'), 'visitors'),
  /** The limits of that pool, unless an admin has set others. */
  pool: poolLimitsSchema.check(
    z.refine((limits) => Object.keys(limits).some((name) => name.startsWith('usd_')), {
      error: 'requires a limit in USD, such as {"usd_per_day":5}, as the budget of all visitors',
    }),
  ),
  seconds: z._default(z.int().check(z.gte(MIN_VISIT_S), z.lte(MAX_VISIT_S)), 86_400),
  turnstile: z._default(z.boolean(), true),
});
