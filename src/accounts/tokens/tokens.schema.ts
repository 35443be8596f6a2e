import { fieldError } from '../../http/validate.ts';
import * as z from '../../http/zod.ts';
import { isAccount, isSourceAccount, MAX_ACCOUNT_CHARACTERS, SCOPES } from '../../identity/identity.ts';
import { tagsSchema } from '../../identity/tags.ts';
import { tokenLimits } from '../../settings/limits.schema.ts';

/** What a token is minted from. */
export const mintRequest = z.strictObject({
  account: z.string({ error: fieldError('Input should be a valid string') }).check(
    z.refine(isAccount, `must have 1 to ${MAX_ACCOUNT_CHARACTERS} characters`),
    z.refine((name) => !isSourceAccount(name), 'must not begin with webhook-: such an account pays for webhooks alone'),
  ),
  scopes: z
    .array(z.enum(SCOPES, { error: `must be one of ${SCOPES.join(', ')}` }), {
      error: fieldError('Input should be a valid list'),
    })
    .check(z.minLength(1, 'at least one scope is required')),
  expires_in: z.optionally(
    z.int('Input should be a valid integer').check(z.gte(1), z.lte(10 * 365 * 86_400)),
    'Seconds. Default: valid until it is revoked; with the scope `admin` 30 days.',
  ),
  label: z.optional(z.string().check(z.maxLength(256))),
  tags: z.optionally(
    tagsSchema,
    'What the ledger books its requests under; the header `sluice-tags` is not read then.',
  ),
  limits: z.optionally(tokenLimits, 'Limits of this token alone, beside those of its account.'),
});
