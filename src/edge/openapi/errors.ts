import { createErrorBody, type ErrorBody, type ErrorType } from '../kit/http/errors.ts';
import * as z from '../kit/http/zod.ts';

/** The envelope of every error. */
export const errorSchema: z.ZodMiniType<ErrorBody> = z.addReferenceMeta(
  z.object({
    type: z.literal('error'),
    error: z.object({
      type: z.addDescription(z.string(), 'What kind of error it is: clients decide by this and the status.'),
      message: z.addDescription(z.string(), 'A sentence that says what to do.'),
    }),
    request_id: z.addDescription(
      z.string(),
      'The same as in the header `sluice-request-id`, unless the upstream said it.',
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
  400: createErrorDescription('The request must be changed.', {
    invalid_request_error: 'max_tokens: Input should be greater than or equal to 0',
  }),
  401: createErrorDescription('The credential is absent, not one of this edge, expired or revoked.', {
    authentication_error: 'Send a credential of this edge as `Authorization: Bearer …` or `x-api-key`.',
  }),
  403: createErrorDescription('The credential may not do this.', {
    permission_error: 'This credential lacks the scope `admin`.',
  }),
  404: createErrorDescription('There is no such thing, or it is somebody else’s.', {
    not_found_error: 'There is no such conversation.',
  }),
  409: createErrorDescription(
    'It cannot be done now: another turn runs, or the id is taken. `x-should-retry: false`.',
    {
      conflict_error: 'This conversation has a turn running. Follow it at GET /conversations/trip/stream, or stop it.',
    },
  ),
  410: createErrorDescription('The events are no longer kept; `location` says where the answer is.', {
    not_found_error: 'The events of this turn are no longer kept.',
  }),
  413: createErrorDescription('The body is larger than `MAX_BODY_BYTES`.', {
    request_too_large: 'Request exceeds the maximum size of 33554432 bytes. Send a smaller body.',
  }),
  415: createErrorDescription('The body is not sent as JSON.', {
    invalid_request_error: 'Send the body as JSON, with the header content-type: application/json.',
  }),
  423: createErrorDescription(
    'The conversation waits for an approval; `location` says where. `x-should-retry: false`.',
    {
      conflict_error:
        'This conversation waits for a person. See at GET /conversations/trip/approvals what is to be approved, and decide.',
    },
  ),
  429: createErrorDescription(
    'Limited, by the account or the upstream: `sluice-limited-by` says by whom, `retry-after` until when.',
    {
      rate_limit_error:
        "This would exceed this account's limit requests_per_minute (it needs 1, 0 are left). Try again in 4 s.",
      billing_error:
        'The daily spend limit of this account leaves too little: $0.00001 is left and this request needs $0.0002. It resets at 2026-11-21T00:00:00.000Z.',
    },
  ),
  500: createErrorDescription('The deployment is not set up, its upstream refuses it, or the answer broke off.', {
    api_error: 'This deployment has no ANTHROPIC_API_KEY.',
  }),
  501: createErrorDescription('This edge does not offer it. `x-should-retry: false`.', {
    not_supported: 'This edge does not count conversations. Leave `conversation` out.',
  }),
  503: createErrorDescription('It cannot be reached at the moment; `retry-after` says when to try again.', {
    api_error: 'The conversation could not be reached. Try again in a moment.',
  }),
  504: createErrorDescription('The upstream did not answer in time.', {
    timeout_error: 'The upstream did not answer in time. Try again, or stream the answer.',
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
