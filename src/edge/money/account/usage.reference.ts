/** Describes the routes of usage in the API reference. */

import { createListResponseSchema } from '../../kit/http/page.ts';
import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { describeJsonResponse } from '../../openapi/responses.ts';
import { listDimensions } from '../contracts/dimensions.ts';
import { USAGE_ROUTES } from './usage.route.ts';
import { usageGroupSchema } from './usage.schema.ts';
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
    waited_requests: 1,
    waited_ms: 4,
    waited_within_ms: { 100: 1, 500: 1, 1000: 1, 5000: 1, 10000: 1, 30000: 1 },
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
  error_message: null,
  upstream_request_id: 'req_011CVuWyLpFkJiV6yJmMGfBD',
  upstream: null,
  failed_upstreams: [],
  ttft_ms: 312,
  waited_ms: 4,
  ms: 1_204,
  batch: null,
  outcomes: null,
};
const ofPlugins = Object.assign({}, ...listDimensions().map(({ shown }) => shown));
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
      'Only on a page of all accounts. A page reads at most 200 accounts. To continue with the others, send this value as `accounts_after`. Null if there are no other accounts.',
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
  description: 'The cost of requests. Admins can read the usage of any account, other callers only their own.',
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
        'Without `account`, an admin gets the sums of all accounts, updated within a minute. Only admins can group by account or group. Grouping by conversation or tool requires one account, by default your own. A day has at most 200 tokens, users, agents, prefixes, upstreams or tags; the rest are summed as `(other)`. A request with several tags counts for each of them; requests without a value have the key null. Reports of one account can start and end at any time for which its requests are stored. Reports of all accounts cover whole days, as `from` and `to` of the response show.',
      answer: {
        description: 'The rows, and their total.',
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
        'Lists the requests of one account, by default your own. With `outcome` and without `account`, an admin gets the requests of all accounts. Such a page reads at most 200 accounts, those with the newest requests first; `accounts_after` continues with the others.',
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
        'Admins can omit `account`, and the response contains it. The id can also be the upstream’s id (`upstream_request_id`), which SDKs show in errors. It is found among the newest 20,000 requests with `account`, otherwise only among the failed requests of the 200 accounts that failed last. If very many requests are rejected, only some of them are stored.',
      answer: describeJsonResponse('The request with all of its attempts.', requestSchema, {
        ...row,
        account: 'alice',
        tries: [row],
        refusal: null,
      }),
    },
  }),
};
