import { ApiError, tooLarge } from '../../http/errors.ts';

/**
 * Makes the 413 for a request that is too large to go up.
 *
 * @param limitBytes the most bytes of a request
 * @param hasHistory whether it has a history: then a smaller request does not help, and the error says what does
 */
export function outgrown(limitBytes: number, hasHistory: boolean): ApiError {
  if (!hasHistory) return tooLarge(limitBytes);
  return new ApiError(
    'request_too_large',
    `The history of this conversation has outgrown the ${limitBytes} bytes that one request may have. ` +
      'Go back (POST /conversations/:id/rewind), go on from an earlier message (POST /conversations/:id/fork with `at`), ' +
      'or have its oldest turns left out: PATCH /conversations/:id with {"history":{"max_tokens":…,"strategy":"truncate"}}.',
  );
}
