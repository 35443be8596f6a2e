/** Why a text was not labelled. */

import { ApiError, createNonRetryableError } from '../../kit/http/errors.ts';
import { parseLimitingCause } from '../../money/admission/limitation.ts';

/** Why there is no label. `limited` and `unavailable` pass with time; the others do not. */
export type FailureReason = 'limited' | 'unavailable' | 'input' | 'answer' | 'operator' | 'cancelled';

/** An input without a label. */
export interface NotClassified {
  outcome: 'unclassified';
  reason: FailureReason;
  /** The error, fit to be shown to a caller. */
  error: ApiError;
}

export type FailedCall = Omit<NotClassified, 'outcome'>;

/** @returns the error for a model that twice gave no usable label. @param help what may help, as a sentence */
export function createNoUsableLabelError(
  fault: string,
  help = 'Try another model, or describe the labels better.',
): ApiError {
  return createNonRetryableError(
    'api_error',
    `The model returned no usable response, even after a retry: ${fault}. ${help}`,
    {
      logged: 'no_answer',
    },
  );
}

/** @returns the failure of a second call after a truncated answer. Its message also mentions the truncation and the remedy */
export function createFailureAfterTruncatedAnswer(
  { error, ...failure }: FailedCall,
  fault: string,
  help: string,
): FailedCall {
  const message = `The model returned no usable response: ${fault}. The second attempt, with more tokens, failed: ${error.message} ${help}`;
  return { ...failure, error: new ApiError(error.type, message, error) };
}

/** @returns the error for a call whose caller has left */
export function createClassificationCancelledError(): ApiError {
  return new ApiError('api_error', 'The caller disconnected before the response arrived.', { logged: 'client_gone' });
}

/** @returns the failure that an error means, with its reason */
export function toFailedCall(error: ApiError, reason?: FailureReason): FailedCall {
  return { reason: reason ?? getFailureReason(error), error };
}

function getFailureReason(error: ApiError): FailureReason {
  const { by, passes } = parseLimitingCause(error);
  // If the limit never resets, retrying does not help, so the reason is `operator`: an operator has to raise the limit.
  if (by !== undefined) return passes === 'never' ? 'operator' : 'limited';
  switch (error.type) {
    case 'invalid_request_error':
    case 'request_too_large':
      return 'input';
    case 'api_error':
      return passes === 'soon' ? 'unavailable' : 'operator';
    case 'rate_limit_error':
    case 'overloaded_error':
    case 'timeout_error':
    case 'conflict_error':
      return 'unavailable';
    default:
      return 'operator';
  }
}
