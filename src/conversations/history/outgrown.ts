/** What is too large to go up. */
import { ApiError, tooLarge } from '../../http/errors.ts';

/**
 * @param limitBytes what one request may have
 * @param hasHistory whether a history is part of it: then nothing that the caller sends could be small enough
 * @returns the 413 that says what helps
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
