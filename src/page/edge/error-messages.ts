/** Describes errors for people. */

import type { SluiceError } from '../../client/index.ts';
import type { ErrorType } from '../../edge/answers.ts';
import { formatFutureTime } from '../ui/format.ts';

/** The sentence for each type of error, except `billing_error`, and for a missing response. */
const ERROR_SENTENCES: Readonly<Record<Exclude<ErrorType, 'billing_error'> | 'connection_error' | 'closed', string>> = {
  invalid_request_error: 'The request is not valid. Change it, then try again.',
  authentication_error: 'Your token is invalid or has expired. Enter another token.',
  permission_error: 'You are not allowed to do this. Ask the operator.',
  not_found_error: 'This does not exist, or was deleted.',
  conflict_error: 'Another request is in progress. Wait until it ends, then try again.',
  request_too_large: 'This is too large to send. Send less text, or smaller files.',
  rate_limit_error: 'You have reached a rate limit. Wait a moment, then try again.',
  api_error: 'An error occurred in Sluice or at Claude. Try again. If it persists, contact the operator.',
  timeout_error: 'The response took too long. Try again.',
  overloaded_error: 'Claude is overloaded. Try again in a moment.',
  not_supported: 'Sluice does not support this.',
  connection_error: 'Sluice cannot be reached. Check your connection, then try again.',
  closed: 'The response was stopped before it was complete.',
};
const LIMIT_ERROR_TYPES = ['billing_error', 'rate_limit_error'];
/** For a longer wait than this, the message contains the time at which it ends. */
const SHORT_WAIT_SECONDS = 300;

/** @returns a sentence for users who know nothing about the edge: the problem and the remedy */
export function describeErrorForUser(error: SluiceError): string {
  const { type, status = 500, retryAfter = 0 } = error;
  if (isModelNotAllowedError(error)) return 'This model is not available to you. Choose another one.';
  if (isTurnRunningError(error))
    return 'Another response is being written in this conversation. Wait until it ends, then send your message again.';
  if (isApprovalRequiredError(error)) return 'Decide on the call above first. The response waits for your decision.';
  const unknown = status < 500 ? 'invalid_request_error' : 'api_error';
  const kind = Object.hasOwn(ERROR_SENTENCES, type) ? (type as keyof typeof ERROR_SENTENCES) : unknown;
  const sentence = type === 'billing_error' ? describeRemainingBudget(error) : ERROR_SENTENCES[kind];
  if (!LIMIT_ERROR_TYPES.includes(type) || retryAfter <= SHORT_WAIT_SECONDS) return sentence;
  return `${sentence} The limit resets ${formatFutureTime(new Date(Date.now() + retryAfter * 1_000).toISOString())}.`;
}

/** @returns what is said of a type of error, as its caller reads it */
export function describeErrorType(type: string): string {
  // An account gets a `billing_error` for its own limit, so describe it as a used-up budget. Errors that only the operator can
  // fix have other types.
  if (type === 'billing_error') return 'Your budget is used up.';
  return Object.hasOwn(ERROR_SENTENCES, type)
    ? ERROR_SENTENCES[type as keyof typeof ERROR_SENTENCES]
    : ERROR_SENTENCES.api_error;
}

/** @returns how much is left of a budget that does not pay for an answer, in the words of the guide for errors */
function describeRemainingBudget({ headers }: SluiceError): string {
  const by = headers?.get('sluice-limited-by') ?? 'account';
  if (by !== 'account' && by !== 'token') return 'The shared budget is too low.';
  const used = headers?.get('sluice-budget-used') ?? undefined;
  if (used === '1') return 'Your budget is used up.';
  const left = used === undefined ? '' : ` (about ${Math.max(1, Math.round((1 - Number(used)) * 100))} %)`;
  return `Your remaining budget is too low for this response${left}.`;
}

/** @returns what the edge said, with what its operator can find it by */
export function formatErrorDetails({ type, status, requestId, message }: SluiceError): string {
  const kind = [type, status === undefined ? [] : `HTTP ${status}`, requestId ?? []].flat().join(' · ');
  return `${kind}\n${message}`;
}

/** @returns whether the account or its token may not use the requested model. No other 404 is the result of a limit */
function isModelNotAllowedError({ type, headers }: SluiceError): boolean {
  return type === 'not_found_error' && headers?.has('sluice-limited-by') === true;
}

/** @returns whether a conversation has rejected a turn because another one is running, which can be followed at its location */
function isTurnRunningError({ type, headers }: SluiceError): boolean {
  return type === 'conflict_error' && headers?.get('location')?.endsWith('/stream') === true;
}

/** @returns whether a conversation has rejected a turn because a person must decide on its calls first */
export function isApprovalRequiredError({ type, status, headers }: SluiceError): boolean {
  return type === 'conflict_error' && (status === 423 || headers?.get('sluice-paused') === 'approval');
}
