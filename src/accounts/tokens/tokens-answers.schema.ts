import * as z from '../../http/zod.ts';
import { SCOPES } from '../../identity/identity.ts';
import { tokenLimits } from '../../settings/limits.schema.ts';

/** A minted token: shown once, and never again. */
export const mintedToken = z.object({
  token: z.string(),
  jti: z.string(),
  account: z.string(),
  scopes: z.array(z.enum(SCOPES)),
  expires_at: z.nullable(z.iso.datetime()),
  limits: z.described(z.nullable(tokenLimits), 'Limits of this token alone; null where it has those of its account.'),
});

export type MintedTokenAnswer = z.output<typeof mintedToken>;
