/** The requests of the routes of tokens. */

import {
  isAccountName,
  isSourceAccount,
  isVisitor,
  MAX_ACCOUNT_CHARACTERS,
  SCOPES,
} from '../../auth/identity/identity.ts';
import { onlySchema, RESTRICTED_SCOPES } from '../../auth/identity/only.ts';
import { tagsSchema } from '../../auth/identity/tags.ts';
import { createFieldError } from '../../kit/http/validate.ts';
import * as z from '../../kit/http/zod.ts';
import { tokenLimits } from '../budget/limits.schema.ts';

/** The query of the list of tokens of all accounts. */
export const tokensQuery = z.object({
  scope: z.createOptionalField(
    z.literal('admin', { error: 'must be `admin`. For other tokens, use GET /accounts/:id/tokens' }),
    '`admin` (default): tokens with `admin`, or a scope that begins with `admin:`.',
  ),
});

/** A label for the list of tokens. */
export const tokenLabel = z.string().check(z.maxLength(256));

export const mintRequest = z
  .strictObject({
    account: z.addDescription(
      z.string({ error: createFieldError('Input should be a valid string') }).check(
        z.refine(isAccountName, `must have 1 to ${MAX_ACCOUNT_CHARACTERS} characters`),
        z.refine(
          (name) => !isSourceAccount(name),
          'must not begin with webhook-: such an account pays for webhooks alone',
        ),
        z.refine(
          (name) => !isVisitor(name),
          'must not be a visitor. Visitors get their tokens from POST /tokens/visitor',
        ),
      ),
      'The account that the token is for, at most 128 characters. It is created by its first request.',
    ),
    scopes: z.addDescription(
      z
        .array(z.enum(SCOPES, { error: `must be one of ${SCOPES.join(', ')}` }), {
          error: createFieldError('Input should be a valid list'),
        })
        .check(z.minLength(1, 'at least one scope is required')),
      'What the token is allowed to do, for example `["messages"]`.',
    ),
    expires_in: z.createOptionalField(
      z.int('Input should be a valid integer').check(z.gte(1), z.lte(10 * 365 * 86_400)),
      'After how many seconds the token expires. Default: 900 (15 minutes) with `only`; 30 days with `admin` or a scope that begins with `admin:`; otherwise it does not expire.',
    ),
    label: z.createOptionalField(
      tokenLabel,
      'A label for the list of tokens, such as the device that uses it; at most 256 characters.',
    ),
    tags: z.createOptionalField(
      tagsSchema,
      'Tags under which the ledger records the token’s requests. They replace the header `sluice-tags`.',
    ),
    limits: z.createOptionalField(tokenLimits, 'Limits of this token, in addition to those of its account.'),
    session: z.createOptionalField(
      z.int('Input should be a valid integer').check(z.gte(1), z.lte(365 * 86_400)),
      'For how many seconds the token can be renewed at `POST /tokens/renew`, each time for `expires_in` seconds. Default: it cannot be renewed.',
    ),
    only: z.createOptionalField(
      onlySchema,
      'Restricts the token to these agents and classifiers, so that it is safe to use in a page. The token then expires after 15 minutes, unless `expires_in` sets another time.',
    ),
  })
  .check(
    z.refine(
      ({ session, expires_in }) => session === undefined || (expires_in !== undefined && expires_in <= session),
      {
        path: ['session'],
        error: 'requires `expires_in`, and must not be shorter. A token that does not expire needs no renewal',
      },
    ),
    z.refine(({ scopes, only }) => !only || scopes.every((scope) => RESTRICTED_SCOPES.includes(scope)), {
      path: ['scopes'],
      error: `a restricted token (\`only\`) supports only the scopes ${RESTRICTED_SCOPES.join(' and ')}`,
    }),
  );

/** The request for a visitor's token. @param needsTurnstile whether the page must show that a person has opened it */
export const createVisitorRequestSchema = (needsTurnstile: boolean) =>
  needsTurnstile ? withTurnstile : z.partial(withTurnstile);

/** With Turnstile, as the reference has it. */
export const withTurnstile = z.strictObject({
  turnstile: z.addDescription(
    z.string().check(z.minLength(1), z.maxLength(2_048)),
    'The response of the Turnstile widget. Omit it if the deployment accepts visitors without Turnstile.',
  ),
});
