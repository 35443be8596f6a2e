import * as z from '../http/zod.ts';
import { SCOPES } from '../identity/identity.ts';

/** A minted token: shown once, and never again. */
export const mintedToken = z.object({
  token: z.string(),
  jti: z.string(),
  account: z.string(),
  scopes: z.array(z.enum(SCOPES)),
  expires_at: z.nullable(z.iso.datetime()),
});

export type MintedTokenAnswer = z.output<typeof mintedToken>;
