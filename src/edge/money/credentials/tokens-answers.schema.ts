import { SCOPES } from '../../auth/identity/identity.ts';
import { onlySchema } from '../../auth/identity/only.ts';
import * as z from '../../kit/http/zod.ts';
import { tokenLimits } from '../budget/limits.schema.ts';

/** A minted token: shown once, and never again. */
export const mintedToken = z.object({
  token: z.string(),
  jti: z.string(),
  account: z.string(),
  scopes: z.array(z.enum(SCOPES)),
  expires_at: z.nullable(z.iso.datetime()),
  limits: z.addDescription(
    z.nullable(tokenLimits),
    'Limits of this token alone; null where it has those of its account.',
  ),
  only: z.addDescription(z.nullable(onlySchema), 'What a restricted token may ask; null for any other.'),
});

/** A token in the place of the one that asked. That one stays valid until its end. */
export const renewedToken = z.object({
  token: z.string(),
  jti: z.addDescription(z.string(), 'The same as before: revoked is revoked.'),
  expires_at: z.iso.datetime(),
  session_ends_at: z.addDescription(z.iso.datetime(), 'After this it cannot be renewed.'),
});

/** A token of somebody without a login. */
export const visitorToken = z.object({
  ...renewedToken.shape,
  jti: z.addDescription(z.string(), 'The same for the same answer of the widget.'),
  account: z.addDescription(z.string(), 'An account of its own, which ends with its visitor.'),
});

export type VisitorTokenAnswer = z.output<typeof visitorToken>;

export type RenewedTokenAnswer = z.output<typeof renewedToken>;

export type MintedTokenAnswer = z.output<typeof mintedToken>;
