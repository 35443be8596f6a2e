import { isAccountName, isGroupName, isTokenId, MAX_TOKEN_ID_CHARACTERS } from '../../auth/identity/identity.ts';
import { count, createObjectTypeSchema, instant } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { blockSchema, limitsSchema, storedCredit, tokenLimits } from '../../money/budget/limits.schema.ts';
import { tokenLabel } from '../../money/credentials/tokens.schema.ts';

const nanodollars = count;

/**
 * The backup of an account. Times are milliseconds since 1970, days are counted since then, and money is nanodollars. These
 * are the units of its rows, so nothing is lost.
 */
export const accountBackup = z.strictObject({
  type: createObjectTypeSchema('account_backup'),
  id: z.addDescription(
    z.string().check(z.refine(isAccountName, 'must be 1 to 128 characters')),
    'The name of the account: the `sub` of its tokens.',
  ),
  taken_at: z.addDescription(instant, 'When the backup was made; milliseconds since 1970.'),
  limits: z.addDescription(
    z.nullable(limitsSchema),
    'The account’s own limits. Null if the account has only the deployment’s defaults.',
  ),
  block: z.addDescription(z.nullable(blockSchema), 'The block by an admin. Null if the account is not blocked.'),
  group: z.addDescription(
    z.nullable(z.string().check(z.refine(isGroupName, 'must be 1 to 128 characters'))),
    'The group to which an admin has assigned the account. Null if no admin has assigned one.',
  ),
  revoked_before: z.addDescription(instant, 'Tokens issued until this time are revoked; milliseconds since 1970.'),
  credits: z.addDescription(z.array(storedCredit), 'The credits of the account, expired ones included.'),
  tokens: z.addDescription(
    z.array(
      z.strictObject({
        jti: z.addDescription(
          z.string().check(z.refine(isTokenId, `must have 1 to ${MAX_TOKEN_ID_CHARACTERS} characters`)),
          'The id of the token.',
        ),
        label: z.addDescription(
          z.nullable(tokenLabel),
          'The label that the token was created with. Null if the token has no label.',
        ),
        scopes: z.addDescription(
          z.nullable(z.string().check(z.maxLength(1_000))),
          'The scopes of the token, separated by spaces. Null if unknown.',
        ),
        minted_at: z.addDescription(
          z.nullable(instant),
          'When the token was created; milliseconds since 1970. Null if another service issued the token.',
        ),
        first_seen_at: z.addDescription(
          z.nullable(instant),
          'When the token was first used; milliseconds since 1970. Null if the token has not been used yet.',
        ),
        expires_at: z.addDescription(
          z.nullable(instant),
          'When the token expires; milliseconds since 1970. Null if the token does not expire.',
        ),
        revoked_at: z.addDescription(
          z.nullable(instant),
          'When the token was revoked; milliseconds since 1970. Null if the token is not revoked.',
        ),
        limits: z.addDescription(
          z.nullable(tokenLimits),
          'The token’s own limits. Null if the token has only the limits of the account.',
        ),
        spent: z.addDescription(nanodollars, 'The cost of the token’s requests, in nanodollars.'),
      }),
    ),
    'Records of the account’s tokens. The tokens themselves are not stored.',
  ),
  days: z.addDescription(
    z.array(
      z.strictObject({
        day: z.addDescription(count, 'The day (UTC), as the number of days since 1970-01-01.'),
        requests: z.addDescription(count, 'The number of requests.'),
        cost: z.addDescription(nanodollars, 'The cost of the requests, in nanodollars (1 US dollar is 1,000,000,000).'),
        input_tokens: z.addDescription(count, 'Input tokens that were neither read from nor written to the cache.'),
        output_tokens: z.addDescription(count, 'Output tokens, thinking included.'),
        cache_read_tokens: z.addDescription(count, 'Input tokens that were read from the cache.'),
        cache_write_5m_tokens: z.addDescription(count, 'Input tokens that were written to the cache for 5 minutes.'),
        cache_write_1h_tokens: z.addDescription(count, 'Input tokens that were written to the cache for 1 hour.'),
        thinking_tokens: z.addDescription(count, 'Output tokens that were thinking.'),
        web_searches: z.addDescription(count, 'Web searches by the API’s own tool.'),
        saved: z.addDescription(
          z.int(),
          'How much caching saved, in nanodollars. It is negative if caching cost more.',
        ),
      }),
    ),
    'The account’s usage on each day.',
  ),
});

export const restoreQuery = z.object({
  mode: z.addDescription(
    z.optional(z.literal('merge')),
    '`merge` restores an account that is already in use. Limits and group are replaced by those of the backup, all revocations apply, and for each day and credit the larger sum is kept.',
  ),
});

export type AccountBackup = z.output<typeof accountBackup>;
