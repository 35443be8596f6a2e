import { pageSchema } from '../../kit/http/page.ts';
import * as z from '../../kit/http/zod.ts';
import { jsonAnswer, namedList, pageAnswer } from '../../kit/reference/answers.ts';
import { type Resource, resource } from '../../kit/reference/resource.ts';
import { revokedAnswer, tokenRowSchema } from '../account/usage-answers.schema.ts';
import { mintRequest, withTurnstile } from './tokens.schema.ts';
import { mintedToken, renewedToken, visitorToken } from './tokens-answers.schema.ts';

const jti = '6a5b2b1e-3a0e-4c56-9d5b-0d7a0e1f2c3d';
const row = {
  jti,
  label: 'laptop',
  scopes: ['messages'],
  minted_at: '2026-11-20T10:06:14.000Z',
  first_seen_at: null,
  expires_at: '2026-11-20T11:06:14.000Z',
  revoked_at: null,
  limits: { usd_total: 5 },
  spent_usd: 0.25,
};
const revokedSchema = z.withMeta(revokedAnswer, { id: 'Revoked' });
const revoked = (description: string, what: string) =>
  jsonAnswer(description, revokedSchema, { account: 'alice', revoked: what });

export const tokens: Resource = resource({
  tag: 'Tokens',
  description: 'Credentials: JWTs that name an account and what it may do.',
  parameters: {
    id: { description: 'The account.', example: 'alice' },
    jti: { description: 'The id of the token.', example: jti },
  },
  needs: 'admin',
  routes: {
    'POST /tokens': {
      operation: 'mintToken',
      summary: 'Mint a token',
      description: 'It is shown once, and never again.',
      body: {
        schema: z.withMeta(mintRequest, { id: 'TokenRequest' }),
        example: {
          account: 'alice',
          scopes: ['messages'],
          expires_in: 3_600,
          label: 'laptop',
          limits: { usd_total: 5 },
          tags: { team: 'search' },
          only: { agents: ['support'] },
        },
      },
      answers: {
        201: jsonAnswer('The token.', z.withMeta(mintedToken, { id: 'Token' }), {
          token: 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl',
          jti,
          account: 'alice',
          scopes: ['messages'],
          expires_at: '2026-11-20T11:06:14.000Z',
          limits: { usd_total: 5 },
          only: { agents: ['support'] },
        }),
      },
    },
    'POST /tokens/renew': {
      operation: 'renewToken',
      needs: 'credential',
      summary: 'Renew the token that asks',
      description:
        'For tokens of this edge that were minted with `session`. The id stays, and so do limits and revocations.',
      answers: {
        201: jsonAnswer('The token that follows it.', z.withMeta(renewedToken, { id: 'RenewedToken' }), {
          token: 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl',
          jti,
          expires_at: '2026-11-20T11:06:14.000Z',
          session_ends_at: '2026-11-20T18:06:14.000Z',
        }),
      },
    },
    'POST /tokens/visitor': {
      operation: 'mintVisitorToken',
      needs: 'nothing',
      summary: 'Get a token for somebody without a login',
      description: 'Where VISITORS is set. The token is bound to what VISITORS says, and renewed like any other.',
      body: {
        schema: z.withMeta(withTurnstile, { id: 'VisitorTokenRequest' }),
        example: { turnstile: '0.zrSnRHO7h0HwSjSCU8oyzbjEtD8p' },
      },
      answers: {
        201: jsonAnswer('The token.', z.withMeta(visitorToken, { id: 'VisitorToken' }), {
          token: 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl',
          jti,
          account: 'visitor:6a5b2b1e3a0e4c569d5b0d7a0e1f2c3d',
          expires_at: '2026-11-20T11:06:14.000Z',
          session_ends_at: '2026-11-21T10:06:14.000Z',
        }),
      },
      errors: [404, 429, 503],
    },
    'GET /accounts/:id/tokens': {
      operation: 'listTokens',
      summary: 'List the tokens of an account, newest first',
      query: pageSchema,
      answer: pageAnswer(
        namedList('TokenList', z.withMeta(tokenRowSchema, { id: 'TokenRow' })),
        row,
        jti,
        'A page of them; never the tokens themselves.',
      ),
    },
    'DELETE /accounts/:id/tokens': {
      operation: 'revokeTokens',
      summary: 'Revoke every token of an account',
      answer: revoked(
        'None that was issued until now holds any more. Turns that they have begun stop, and runs make no further call.',
        'all',
      ),
    },
    'DELETE /accounts/:id/tokens/:jti': {
      operation: 'revokeToken',
      summary: 'Revoke a token',
      answer: revoked('It holds no more. Turns that it has begun stop, and runs make no further call.', jti),
    },
  },
});
