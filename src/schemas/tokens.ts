import * as z from 'zod';
import { isAccount, isSourceAccount, MAX_ACCOUNT_CHARACTERS, SCOPES } from './identity.ts';
import { fieldError } from './json.ts';

/** What a token is minted from. */
export const mintRequest = z.strictObject({
  account: z
    .string({ error: fieldError('Input should be a valid string') })
    .refine(isAccount, `must have 1 to ${MAX_ACCOUNT_CHARACTERS} characters`)
    .refine((name) => !isSourceAccount(name), 'must not begin with webhook-: such an account pays for webhooks alone'),
  scopes: z
    .array(z.enum(SCOPES, { error: `must be one of ${SCOPES.join(', ')}` }), {
      error: fieldError('Input should be a valid list'),
    })
    .min(1, 'at least one scope is required'),
  expires_in: z
    .int('Input should be a valid integer')
    .min(1)
    .max(10 * 365 * 86_400)
    .optional()
    .describe('Seconds.'),
  label: z.string().max(256).optional(),
});

/** A minted token: shown once, and never again. */
export const mintedToken = z.object({
  token: z.string(),
  jti: z.string(),
  account: z.string(),
  scopes: z.array(z.enum(SCOPES)),
  expires_at: z.iso.datetime().nullable(),
});

export type MintedTokenAnswer = z.output<typeof mintedToken>;
