/** Describes the routes of tokens in the API reference. */

import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { createNamedListSchema, describeJsonResponse, describePageResponse } from '../../openapi/responses.ts';
import { ownedTokenRowSchema, revokedAnswer, tokenRowSchema } from '../account/usage-answers.schema.ts';
import { TOKEN_ROUTES } from './tokens.route.ts';
import { mintedToken, renewedToken } from './tokens-answers.schema.ts';

export const tokenId = '6a5b2b1e-3a0e-4c56-9d5b-0d7a0e1f2c3d';
const row = {
  jti: tokenId,
  label: 'laptop',
  scopes: ['messages'],
  minted_at: '2026-11-20T10:06:14.000Z',
  first_seen_at: '2026-11-20T10:07:31.000Z',
  expires_at: '2026-11-20T11:06:14.000Z',
  revoked_at: null,
  limits: { usd_total: 5 },
  spent_usd: 0.25,
  locations: [{ hour: '2026-11-20T10:00:00.000Z', country: 'DE', asn: 3320, client: 'claude-code' }],
};
const revokedSchema = z.addReferenceMeta(revokedAnswer, { id: 'Revoked' });
const createRevokedResponse = (description: string, what: string) =>
  describeJsonResponse(description, revokedSchema, { account: 'alice', revoked: what });

export const tokens: ApiResource = {
  tag: 'Tokens',
  description: 'Credentials: JWTs that contain an account and its scopes.',
  parameters: {
    id: { description: 'The account.', example: 'alice' },
    jti: { description: 'The id of the token.', example: tokenId },
  },
  routes: describeRoutes(TOKEN_ROUTES, {
    'POST /tokens': {
      operation: 'mintToken',
      summary: 'Create a token',
      description: 'The response contains the token. It cannot be retrieved later.',
      body: {
        id: 'TokenRequest',
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
        201: describeJsonResponse('The token.', z.addReferenceMeta(mintedToken, { id: 'Token' }), {
          token: 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl',
          jti: tokenId,
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
      summary: 'Renew the token of this request',
      description:
        'Only for tokens that were created here with `session`. The id, limits and revocation do not change.',
      answers: {
        201: describeJsonResponse('The new token.', z.addReferenceMeta(renewedToken, { id: 'RenewedToken' }), {
          token: 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl',
          jti: tokenId,
          expires_at: '2026-11-20T11:06:14.000Z',
          session_ends_at: '2026-11-20T18:06:14.000Z',
        }),
      },
    },
    'GET /tokens': {
      operation: 'listOperatorTokens',
      summary: 'List tokens that concern all accounts',
      description:
        'Lists tokens with `admin`, or a scope that begins with `admin:`, which were created with `POST /tokens` or used. A token that the command line signed is listed after its first use.',
      answer: describePageResponse(
        createNamedListSchema('OperatorTokenList', z.addReferenceMeta(ownedTokenRowSchema, { id: 'OwnedTokenRow' })),
        { ...row, account: 'desk' },
        tokenId,
        'A page of the tokens’ records, without the tokens themselves.',
      ),
    },
    'GET /tokens/:jti': {
      operation: 'retrieveToken',
      summary: 'Find a token by its id',
      description:
        'Finds the account by the mark in the id. Finds tokens of this deployment that were used, and those with an `admin` scope that were created with `POST /tokens`.',
      answer: describeJsonResponse('The token’s record, with its account.', ownedTokenRowSchema, {
        ...row,
        account: 'desk',
      }),
    },
    'GET /accounts/:id/tokens': {
      operation: 'listTokens',
      summary: 'List the tokens of an account, newest first',
      answer: describePageResponse(
        createNamedListSchema('TokenList', z.addReferenceMeta(tokenRowSchema, { id: 'TokenRow' })),
        row,
        tokenId,
        'A page of the tokens’ records, without the tokens themselves.',
      ),
    },
    'DELETE /accounts/:id/tokens': {
      operation: 'revokeTokens',
      summary: 'Revoke every token of an account',
      answer: createRevokedResponse(
        'All tokens issued until now are revoked. Turns that were started with them stop, and their runs make no further calls.',
        'all',
      ),
    },
    'DELETE /accounts/:id/tokens/:jti': {
      operation: 'revokeToken',
      summary: 'Revoke a token',
      answer: createRevokedResponse(
        'The token is revoked. Turns that were started with it stop, and their runs make no further calls.',
        tokenId,
      ),
    },
  }),
};
