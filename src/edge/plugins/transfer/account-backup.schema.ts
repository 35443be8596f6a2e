import { isGroupName } from '../../auth/identity/identity.ts';
import { count, instant } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { limitsSchema, tokenLimits } from '../../money/budget/limits.schema.ts';

const createTextSchema = (most: number) => z.string().check(z.maxLength(most));
const nanodollars = count;

/**
 * The backup of an account. Times are milliseconds since 1970, days are counted since then, and money is nanodollars. These
 * are the units of its rows, so nothing is lost.
 */
export const accountBackup = z.strictObject({
  type: z.literal('account_backup'),
  id: z.string(),
  taken_at: z.addDescription(instant, 'When the backup was made.'),
  limits: z.nullable(limitsSchema),
  group: z.nullable(createTextSchema(128).check(z.refine(isGroupName, 'must be 1 to 128 characters'))),
  revoked_before: z.addDescription(instant, 'Tokens that were issued until then are revoked.'),
  credits: z.array(
    z.strictObject({
      id: createTextSchema(128),
      key: z.nullable(createTextSchema(256)),
      amount: nanodollars,
      spent: nanodollars,
      note: z.nullable(createTextSchema(512)),
      created_at: instant,
      expires_at: z.nullable(instant),
    }),
  ),
  tokens: z.addDescription(
    z.array(
      z.strictObject({
        jti: createTextSchema(256),
        label: z.nullable(createTextSchema(1_000)),
        scopes: z.nullable(createTextSchema(1_000)),
        minted_at: z.nullable(instant),
        first_seen_at: z.nullable(instant),
        expires_at: z.nullable(instant),
        revoked_at: z.nullable(instant),
        limits: z.nullable(tokenLimits),
        spent: nanodollars,
      }),
    ),
    'What is known of them, never they themselves.',
  ),
  days: z.addDescription(
    z.array(
      z.strictObject({
        day: count,
        requests: count,
        cost: nanodollars,
        input_tokens: count,
        output_tokens: count,
        cache_read_tokens: count,
        cache_write_5m_tokens: count,
        cache_write_1h_tokens: count,
        thinking_tokens: count,
        web_searches: count,
        saved: z.int(),
      }),
    ),
    'What was spent on each day.',
  ),
});

export const restoreQuery = z.object({
  mode: z.addDescription(
    z.optional(z.literal('merge')),
    'Restores an account that has been used: its limits and group are those of the backup, revocations of both sides hold, and of each day and credit the larger sum counts.',
  ),
});

export type AccountBackup = z.output<typeof accountBackup>;
