/** The responses of the routes of tokens. */

import { SCOPES } from '../../auth/identity/identity.ts';
import { onlySchema } from '../../auth/identity/only.ts';
import * as z from '../../kit/http/zod.ts';
import { tokenLimits } from '../budget/limits.schema.ts';

/** A minted token: shown once, and never again. */
export const mintedToken = z.object({
  token: z.addDescription(z.string(), 'The token, a JWT. It is returned only once and not stored.'),
  jti: z.addDescription(z.string(), 'The id of the token.'),
  account: z.addDescription(z.string(), 'The account that the token is for.'),
  scopes: z.addDescription(z.array(z.enum(SCOPES)), 'What the token is allowed to do.'),
  expires_at: z.addDescription(
    z.nullable(z.iso.datetime()),
    'When the token expires; ISO 8601, UTC. Null if the token does not expire.',
  ),
  limits: z.addDescription(
    z.nullable(tokenLimits),
    'The token’s own limits. Null if the token has only the limits of its account.',
  ),
  only: z.addDescription(
    z.nullable(onlySchema),
    'The agents and classifiers to which a restricted token is limited. Null if the token is not restricted.',
  ),
});

/** A token in the place of the one that asked. That one stays valid until its end. */
export const renewedToken = z.object({
  token: z.addDescription(z.string(), 'The new token, a JWT. The old one stays valid until it expires.'),
  jti: z.addDescription(
    z.string(),
    'The id of the token. Renewing keeps this id, so a revocation applies to renewed tokens too.',
  ),
  expires_at: z.addDescription(z.iso.datetime(), 'When the new token expires; ISO 8601, UTC.'),
  session_ends_at: z.addDescription(z.iso.datetime(), 'When the token can no longer be renewed; ISO 8601, UTC.'),
});

/** A token of a visitor, who has no login. */
export const visitorToken = z.object({
  ...renewedToken.shape,
  jti: z.addDescription(z.string(), 'The id of the token, the same for the same response of the Turnstile widget.'),
  account: z.addDescription(z.string(), 'The visitor’s account, such as `visitor:6a5b2b1e3a0e4c569d5b0d7a0e1f2c3d`.'),
});

export type VisitorTokenAnswer = z.output<typeof visitorToken>;

export type RenewedTokenAnswer = z.output<typeof renewedToken>;

export type MintedTokenAnswer = z.output<typeof mintedToken>;
