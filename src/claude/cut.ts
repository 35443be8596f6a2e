/** What ends an answer before its end. */
import { ApiError } from '../errors.ts';

/** @returns the error for an upstream that broke off, or fell silent, in the middle of its answer. */
export function cutError(silent: boolean, cause?: unknown): ApiError {
  const message = silent
    ? 'The upstream fell silent in the middle of its answer. What came before stands; send the request again for a whole one.'
    : 'The connection to the upstream broke in the middle of its answer. Send the request again for a whole one.';
  return new ApiError('api_error', message, { logged: silent ? 'upstream_silent' : 'upstream_cut', cause });
}

/** @returns the reason for which a call is ended whose caller has left. */
export function callerLeft(): ApiError {
  return new ApiError('api_error', 'The caller left before the answer ended.', { logged: 'client_gone' });
}
