/** Describes the routes of accounts in the API reference. */

import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { createNamedListSchema, describeJsonResponse, describePageResponse } from '../../openapi/responses.ts';
import { ACCOUNT_ROUTES } from './accounts.route.ts';
import {
  accountAnswer,
  boundAccountAnswer,
  creditRowSchema,
  erasureAnswer,
  erasureRow,
} from './usage-answers.schema.ts';

const row = { type: 'account', id: 'alice' };
const createWindowExample = (name: string, limit: number | null, resets: string) => ({
  window: name,
  limit_usd: limit,
  settled_usd: 0.0000358,
  held_usd: 0,
  resets_at: resets,
});
const limits = { usd_per_day: 0.5, requests_per_minute: 60 };
const quotaExample = {
  ...row,
  limits,
  own_limits: limits,
  group: null,
  blocked_by: null,
  block: null,
  binds: [
    {
      by: 'account',
      id: null,
      limit: 'usd_per_day',
      limit_usd: 0.5,
      used_usd: 0.0000358,
      resets_at: '2026-11-21T00:00:00.000Z',
      refuses: false,
    },
  ],
  hour: createWindowExample('2026-11-20T10', null, '2026-11-20T11:00:00.000Z'),
  day: createWindowExample('2026-11-20', 0.5, '2026-11-21T00:00:00.000Z'),
  week: createWindowExample('2026-W47', null, '2026-11-23T00:00:00.000Z'),
  month: createWindowExample('2026-11', null, '2026-12-01T00:00:00.000Z'),
  total: { limit_usd: null, settled_usd: 0.0000358, held_usd: 0, credit_usd: 0 },
  token: null,
  requests: { limit: 60, remaining: 59, resets_at: '2026-11-20T10:06:15.000Z' },
  input_tokens: null,
  output_tokens: null,
  count_requests: null,
  running_requests: 0,
  conversations: { limit: 10_000, used: 3 },
  stored_bytes: { limit: 1_000_000_000, used: 122_880 },
};
const creditExample = {
  type: 'credit',
  id: 'credit_0b6f7c0e-3f1e-4a55-9b8e-2f6f0f3d7c11',
  usd: 20,
  spent_usd: 0.5,
  left_usd: 19.5,
  note: 'Invoice 2026-117',
  created_at: '2026-11-20T10:06:14.000Z',
  expires_at: '2027-01-01T00:00:00.000Z',
};
const accountSchema = z.addReferenceMeta(accountAnswer, { id: 'Account' });
const erasureSchema = z.addReferenceMeta(erasureAnswer, { id: 'Erasure' });
const standing = z.union([accountSchema, z.addReferenceMeta(boundAccountAnswer, { id: 'BoundAccount' })]);
const createAccountResponseReference = (description: string) =>
  describeJsonResponse(description, accountSchema, quotaExample);

export const accountId = { description: 'The `sub` of its tokens, 1 to 128 characters.', example: 'alice' };

export const accounts: ApiResource = {
  tag: 'Accounts',
  description: 'The limits, spending and credit of accounts.',
  parameters: { id: accountId },
  routes: describeRoutes(ACCOUNT_ROUTES, {
    'GET /accounts/:id': {
      operation: 'getAccount',
      summary: 'Retrieve an account’s limits and spending',
      description:
        'Admins can read any account, other callers only their own. A restricted token receives only the used share of each limit in US dollars and when it resets: `{"type": "account", "id": "alice", "hour": null, "day": {"used": 0.5, "resets_at": "…"}, "week": null, "month": null, "total": null, "token": null}`.',
      answer: describeJsonResponse('The limits of the account, and its usage in each window.', standing, quotaExample),
    },
    'PUT /accounts/:id/limits': {
      operation: 'setLimits',
      summary: 'Replace the limits of an account',
      description: 'The deployment’s defaults apply to absent limits.',
      body: { id: 'Limits', example: limits },
      answer: createAccountResponseReference('The account with the new limits.'),
    },
    'PATCH /accounts/:id/limits': {
      operation: 'changeLimits',
      summary: 'Change some limits of an account',
      description:
        'Null removes a limit; absent limits do not change. `if_limits` keeps two admins from overwriting each other’s changes.',
      body: { id: 'LimitsPatch', example: { usd_per_day: 2, models: null } },
      answer: createAccountResponseReference('The account with the new limits.'),
      errors: [409],
    },
    'PUT /accounts/:id/block': {
      operation: 'blockAccount',
      summary: 'Block an account',
      description:
        'Each request of the account returns a 403 with `message`, whatever its limits are. Running turns stop, and a stream without a conversation ends within a minute. Batches that were already sent continue.',
      body: {
        id: 'AccountBlock',
        example: { reason: 'Scraping, ticket 812', message: 'This account is blocked. Write to support@example.com.' },
      },
      answer: createAccountResponseReference('The blocked account.'),
    },
    'DELETE /accounts/:id/block': {
      operation: 'unblockAccount',
      summary: 'End the block of an account',
      description: 'Does nothing if the account is not blocked.',
      answer: createAccountResponseReference('The account.'),
    },
    'POST /accounts/:id/credit': {
      operation: 'giveCredit',
      summary: 'Give credit to an account',
      description:
        'Credit that expires first is spent first. A repeated request with the same header `idempotency-key` gives the credit only once. Credit has no effect if the account has no limit `usd_total`.',
      body: {
        id: 'CreditRequest',
        example: { usd: 20, expires_at: '2027-01-01T00:00:00Z', note: 'Invoice 2026-117' },
      },
      answers: {
        201: describeJsonResponse(
          'The id of the credit, and the account with the new credit.',
          z.addReferenceMeta(
            z.extend(accountAnswer, {
              credit: z.addDescription(
                z.string(),
                'The id of the credit, such as `credit_0b6f7c0e-3f1e-4a55-9b8e-2f6f0f3d7c11`.',
              ),
            }),
            { id: 'CreditedAccount' },
          ),
          {
            credit: creditExample.id,
            ...quotaExample,
          },
        ),
      },
    },
    'GET /accounts/:id/credit': {
      operation: 'listCredit',
      summary: 'List the credit of an account, newest first',
      description: 'Admins can read any account, other callers only their own.',
      answer: describePageResponse(
        createNamedListSchema('CreditList', creditRowSchema),
        creditExample,
        creditExample.id,
        'A page of the credits.',
      ),
    },
    'GET /accounts/:id/export': {
      operation: 'exportAccount',
      summary: 'Export the requests of an account',
      description: 'Admins can read any account, other callers only their own.',
      answer: {
        description: 'A JSON line for each request, oldest first, in the format of `GET /usage/requests/{request_id}`.',
        content: [{ type: 'application/jsonl', schema: z.string(), example: '' }],
      },
    },
    'PUT /accounts/:id/erasure': {
      operation: 'applyErasure',
      summary: 'Apply an erasure from another deployment',
      description:
        'Revokes tokens and erases data that are not newer than `erased_at`. Newer data remains. You can repeat the request. Backups contain the erasures, and a restore applies them.',
      body: { id: 'ErasureRequest', example: { erased_at: '2026-11-20T10:06:14.000Z' } },
      answers: {
        202: describeJsonResponse('The erasure has started and continues in the background.', erasureSchema, {
          ...row,
          done: true,
          remaining: 0,
        }),
      },
    },
    'GET /erasures': {
      operation: 'listErasures',
      summary: 'List erased accounts',
      description:
        'Lists the erasures of the last 90 days, sorted by account name. `erased_at` is the time of the last erasure.',
      answer: describePageResponse(
        createNamedListSchema('ErasureList', erasureRow),
        { type: 'erasure', account: 'leaver', erased_at: '2026-11-20T10:06:14.000Z' },
        'leaver',
      ),
    },
    'DELETE /accounts/:id': {
      operation: 'eraseAccount',
      summary: 'Erase an account and all of its data',
      answers: {
        202: describeJsonResponse('The erasure has started and continues in the background.', erasureSchema, {
          ...row,
          done: false,
          remaining: 1_200,
        }),
      },
    },
  }),
};
