import { createListResponseSchema } from '../../kit/http/page.ts';
import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { describeJsonResponse } from '../../openapi/responses.ts';
import { dimensions } from '../contracts/dimensions.ts';
import { USAGE_ROUTES } from './usage.route.ts';
import { accountQuery, usageGroupSchema } from './usage.schema.ts';
import {
  ledgerRequestSchema,
  ledgerRowSchema,
  listedRequestSchema,
  ownerOfListSchema,
  usageReportSchema,
} from './usage-answers.schema.ts';

const counted = {
  input_tokens: 8,
  output_tokens: 70,
  cache_read_input_tokens: 0,
  cache_write_5m_input_tokens: 0,
  cache_write_1h_input_tokens: 0,
  thinking_tokens: 0,
  web_search_requests: 0,
};
const total = {
  requests: 1,
  failed: 0,
  cost_usd: 0.0000358,
  saved_usd: 0,
  usage: counted,
  speed: {
    timed_requests: 1,
    ttft_ms: 312,
    ttft_within_ms: { 250: 0, 500: 1, 1000: 1, 2500: 1, 5000: 1, 10000: 1, 30000: 1 },
    streamed_tokens: 70,
    streamed_ms: 892,
  },
};
const row = {
  request_id: 'req_01m7w6qhfxbt0tfvnmx89rna1z',
  created_at: '2026-11-20T10:06:14.000Z',
  settled_at: '2026-11-20T10:06:15.000Z',
  route: 'messages',
  model: 'claude-haiku-5-5',
  answered_by: 'claude-haiku-5-5',
  conversation: 'trip',
  prefix: null,
  agent: null,
  token: null,
  tags: { feature: 'search' },
  user: null,
  status: 'complete',
  stage: null,
  max_tokens: 2_048,
  lowered_by: null,
  hold_usd: 0.001128,
  cost_usd: 0.0000358,
  usage: counted,
  estimated: false,
  over_hold: false,
  late: false,
  unpriced: false,
  stop_reason: 'end_turn',
  error_type: null,
  upstream_request_id: 'req_011CVuWyLpFkJiV6yJmMGfBD',
  upstream: null,
  failed_upstreams: [],
  ttft_ms: 312,
  waited_ms: 4,
  ms: 1_204,
  batch: null,
  outcomes: null,
};
const ofPlugins = Object.assign({}, ...dimensions().map(({ shown }) => shown));
const rowSchema = z.addReferenceMeta(z.extend(ledgerRowSchema, ofPlugins), { id: 'LedgerRow' });
const listedSchema = z.addReferenceMeta(
  z.extend(rowSchema, { account: listedRequestSchema.shape.account, refusal: listedRequestSchema.shape.refusal }),
  {
    id: 'ListedRequest',
  },
);
const ledgerPage = z.addReferenceMeta(
  z.extend(createListResponseSchema(listedSchema), {
    account: ownerOfListSchema,
    accounts_after: z.createOptionalField(
      z.nullable(z.string()),
      'Only on a page of all accounts. A page asks 200 accounts; if others may have such requests, send this as `accounts_after` to list theirs. Null if there are none.',
    ),
  }),
  { id: 'LedgerPage' },
);
const requestSchema = z.addReferenceMeta(
  z.extend(rowSchema, {
    ...ledgerRequestSchema.shape,
    tries: z.addDescription(
      z.array(rowSchema),
      'The rows of all attempts, this one first: `<request_id>.2` is the second. A batch has one row for each of its models.',
    ),
  }),
  {
    id: 'LedgerRequest',
  },
);

export const usage: ApiResource = {
  tag: 'Usage',
  description: 'What requests cost. Admins can read the usage of any account, other callers only their own.',
  parameters: {
    request_id: {
      description: 'The id of the request, as in the header `sluice-request-id`.',
      example: row.request_id,
    },
  },
  routes: describeRoutes(USAGE_ROUTES, {
    'GET /usage': {
      operation: 'getUsage',
      summary: 'Retrieve a usage report',
      description:
        'An admin who names no account gets the sum of all, as accounts have told it: within a minute. By account and group only an admin gets sums, by conversation and tool only of one account, the own one by default. By token, user, agent, prefix, upstream and tag a day has 200 values at most; the rest is `(other)`. A request with several tags counts in each; what has none is the key null. Of one account a time is exact, as far back as its requests are kept. Of all accounts it counts with its whole day: `from` and `to` of the answer say so. `speed` has counts and sums, which add up.',
      answer: {
        description: 'The sums, and their total.',
        content: [
          {
            schema: z.addReferenceMeta(
              z.extend(usageReportSchema, {
                group_by: z.addDescription(usageGroupSchema(), 'The dimension by which requests are grouped.'),
              }),
              { id: 'Usage' },
            ),
            example: { from: null, to: null, group_by: 'model', data: [{ key: 'claude-haiku-5-5', ...total }], total },
          },
          { type: 'text/csv', schema: z.string(), example: 'model,requests,cost_usd,saved_usd\r\n' },
        ],
      },
      errors: [404],
    },
    'GET /usage/requests': {
      operation: 'listRequests',
      summary: 'List requests, newest first',
      description:
        'It is of one account: of the own one, where an admin names no other. The answer says whose it is. With an `outcome` and no account it is of all: accounts are asked, the one with the newest such request first, until no other can have a newer one, 200 at most for a page; `accounts_after` continues with the others.',
      answer: describeJsonResponse('A page of requests.', ledgerPage, {
        data: [row],
        has_more: false,
        first_id: row.request_id,
        last_id: row.request_id,
        account: 'alice',
      }),
      errors: [404],
    },
    'GET /usage/requests/:request_id': {
      operation: 'getRequest',
      summary: 'Retrieve a request with its cost, or why it was rejected',
      description:
        'An admin need not name the account: the id says it, and the response contains the `account`. The id may also be the upstream’s (`upstream_request_id`), which SDKs show for an error of the upstream: with `account` in the newest 20,000 requests, without it in the failed ones of the 200 accounts that failed last. Of a flood of refusals some are forgotten.',
      query: accountQuery,
      answer: describeJsonResponse('The request, and each of its tries.', requestSchema, {
        ...row,
        account: 'alice',
        tries: [row],
        refusal: null,
      }),
    },
  }),
};
