import { createErrorBody, type ErrorBody, type ErrorType } from '../kit/http/errors.ts';
import * as z from '../kit/http/zod.ts';

/** The envelope of every error. */
export const errorSchema: z.ZodMiniType<ErrorBody> = z.addReferenceMeta(
  z.object({
    type: z.addDescription(z.literal('error'), 'Always `error`.'),
    error: z.addDescription(
      z.object({
        type: z.addDescription(z.string(), 'The type of the error. Clients should use it together with the status.'),
        message: z.addDescription(z.string(), 'What is wrong, and what to do.'),
      }),
      'The error.',
    ),
    request_id: z.addDescription(
      z.string(),
      'The id of the request, as in the header `sluice-request-id`, unless the upstream returned the error.',
    ),
  }),
  { id: 'Error' },
);

export type ErrorStatus = keyof typeof ERRORS;

const REQUEST_ID = 'req_01m7w6qgcqbcyj201bk2gjctdn';

const createErrorDescription = <Examples extends Partial<Record<ErrorType, string>>>(
  description: string,
  examples: Examples,
) => ({ description, examples });

/** The errors by status, each with examples of its messages. */
export const ERRORS = {
  400: createErrorDescription('The request is invalid and must be changed.', {
    invalid_request_error: 'max_tokens: Input should be greater than or equal to 0',
  }),
  401: createErrorDescription('The credential is missing, invalid, expired or revoked.', {
    authentication_error:
      'This request has no credential. Send a token of this deployment as `Authorization: Bearer …` or `x-api-key`.',
  }),
  403: createErrorDescription('The credential is not allowed to do this.', {
    permission_error: 'This credential lacks the scope `admin`. Ask the operator for a token with this scope.',
  }),
  404: createErrorDescription(
    'The resource does not exist or belongs to another account, or the account cannot use the model.',
    {
      not_found_error: 'This conversation does not exist. Check its id and the account.',
    },
  ),
  409: createErrorDescription(
    'The request conflicts with the current state: another turn is running, the id is in use, or a limit differs from `if_limits`. `x-should-retry: false`.',
    {
      conflict_error: 'This conversation has a turn running. Follow it at GET /conversations/trip/stream, or stop it.',
    },
  ),
  410: createErrorDescription(
    'The events are no longer stored. The header `location` contains the URL of the response.',
    {
      not_found_error: 'The events of this turn are no longer stored.',
    },
  ),
  413: createErrorDescription('The body is larger than `MAX_BODY_BYTES`.', {
    request_too_large: 'Request exceeds the maximum size of 33554432 bytes. Send a smaller body.',
  }),
  415: createErrorDescription('The body is not JSON.', {
    invalid_request_error: 'Send the body as JSON, with the header content-type: application/json.',
  }),
  423: createErrorDescription(
    'The conversation waits for an approval. The header `location` contains the URL of the approvals. `x-should-retry: false`.',
    {
      conflict_error:
        'This conversation waits for an approval. List the waiting calls with GET /conversations/trip/approvals, and decide them.',
    },
  ),
  429: createErrorDescription(
    'A limit of the account or the upstream is reached. `sluice-limited-by` names the owner of the limit, and `retry-after` contains the seconds to wait.',
    {
      rate_limit_error:
        "This request would exceed this account's limit requests_per_minute (it needs 1, 0 are left). Try again in 4 s.",
      billing_error:
        'The daily spend limit of this account leaves too little: $0.00001 is left and this request needs $0.0002. It resets at 2026-11-21T00:00:00.000Z.',
    },
  ),
  500: createErrorDescription(
    'The deployment is misconfigured, the upstream rejects it, or the response was interrupted.',
    {
      api_error:
        'This deployment has no ANTHROPIC_API_KEY. Its operator can set it with: npx wrangler secret put ANTHROPIC_API_KEY',
    },
  ),
  501: createErrorDescription('Sluice does not support this. `x-should-retry: false`.', {
    not_supported: 'Sluice does not count conversations. Remove `conversation`.',
  }),
  503: createErrorDescription('The service is temporarily unavailable. `retry-after` contains the seconds to wait.', {
    api_error: 'The conversation could not be reached. Try again in a moment.',
  }),
  504: createErrorDescription('The upstream did not respond in time.', {
    timeout_error: 'The upstream did not respond in time. Try again, or stream the response.',
  }),
  529: createErrorDescription('The upstream is overloaded.', { overloaded_error: 'Overloaded' }),
} as const;

/** @returns examples of the error body of a status, one for each of its types. */
export function createErrorExamples(status: ErrorStatus): Record<string, { value: ErrorBody }> {
  const examples = Object.entries(ERRORS[status].examples);
  return Object.fromEntries(
    examples.map(([type, message]) => [type, { value: createErrorBody({ type, message }, REQUEST_ID) }]),
  );
}
