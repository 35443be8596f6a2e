/** Why a text was not labelled, and when it can be tried again. */
import type { Refusal } from '../../durable/contracts/admission.ts';
import { ApiError, finalError } from '../../http/errors.ts';

/** Why there is no label. `budget`, `limited` and `unavailable` pass with time; the others do not. */
export type Reason = 'budget' | 'limited' | 'unavailable' | 'input' | 'answer' | 'operator' | 'cancelled';

/** An input without a label. */
export interface NotClassified {
  outcome: 'unclassified';
  reason: Reason;
  /** The error, fit to be shown to a caller. */
  error: ApiError;
  /** When it makes sense to try again, in milliseconds since 1970; null if not known. */
  retryAt: number | null;
}

export type FailedCall = Omit<NotClassified, 'outcome'>;

const SECOND_MS = 1_000;

/** @returns the error for a model that twice gave no usable label. @param help what may help, as a sentence */
export function unlabelled(fault: string, help = 'Try another model, or describe the labels better.'): ApiError {
  return finalError(
    'api_error',
    `The model gave no usable answer, not even when it was asked again: ${fault}. ${help}`,
    {
      logged: 'no_answer',
    },
  );
}

/** @returns the failure of a second call, where the first answer was cut: it says that too, and what helps */
export function failureAfterCut({ error, ...failure }: FailedCall, fault: string, help: string): FailedCall {
  const message = `The model gave no usable answer: ${fault}. The second try, with more room, failed: ${error.message} ${help}`;
  return { ...failure, error: new ApiError(error.type, message, error) };
}

/** @returns the error for a call whose caller has left */
export function cancelled(): ApiError {
  return new ApiError('api_error', 'Nobody waited for this answer any more.', { logged: 'client_gone' });
}

/** @returns the account's refusal that caused an error, if one did */
export function refusalIn(error: ApiError | undefined): Refusal | undefined {
  const cause = error?.cause as Partial<Refusal> | undefined;
  return cause?.kind === 'refused' ? (cause as Refusal) : undefined;
}

/** @returns the failure that an error means: its reason, and when to try again */
export function failureOf(error: ApiError, known?: Reason): FailedCall {
  const refusal = refusalIn(error);
  const seconds = Number(error.headers['retry-after'] ?? Number.NaN);
  const after = Number.isFinite(seconds) ? Date.now() + seconds * SECOND_MS : null;
  const retryAt = refusal ? refusal.resetsAt : after;
  const reason = known ?? failureReason(error, refusal);
  return { reason, error, retryAt: reason === 'input' || reason === 'operator' ? null : retryAt };
}

function failureReason({ type, headers }: ApiError, refusal: Refusal | undefined): Reason {
  switch (refusal?.reason) {
    case 'model':
    case 'unpriced':
      return 'operator';
    // `never`: it costs more than the whole limit, so only an admin can change that.
    case 'spend':
      return refusal.never ? 'operator' : 'budget';
    case 'rate':
      return refusal.never ? 'input' : 'limited';
    case 'concurrency':
    case 'held':
      return 'limited';
  }
  switch (type) {
    case 'invalid_request_error':
    case 'request_too_large':
      return 'input';
    case 'rate_limit_error':
    case 'billing_error':
      return 'limited';
    case 'api_error':
      return headers['x-should-retry'] === 'false' ? 'operator' : 'unavailable';
    case 'overloaded_error':
    case 'timeout_error':
    case 'conflict_error':
      return 'unavailable';
    default:
      return 'operator';
  }
}
