/** Says to whoever runs this edge what its callers are told in words for them. */

/** What has failed, by the `error_type` in the ledger. What else there is reads as an `api_error`. */
const FAILURE_MESSAGES: Readonly<Record<string, string>> = {
  upstream_auth: 'The upstream refused this deployment.',
  upstream_unreachable: 'The upstream could not be reached.',
  upstream_timeout: 'The upstream did not answer in time.',
  upstream_silent: 'The upstream fell silent in the middle of its answer.',
  upstream_cut: 'The connection to the upstream broke in the middle of its answer.',
  upstream_redirect:
    'The upstream answered with a redirect: set ANTHROPIC_BASE_URL, or base_url in UPSTREAMS, to the final address.',
  upstream_no_answer:
    'What answered in the place of the upstream is not the Claude API: check ANTHROPIC_BASE_URL, or base_url in UPSTREAMS.',
  client_gone: 'The caller left before the answer ended.',
  invalid_request_error: 'The upstream did not accept the request as it was.',
  not_found_error: 'The upstream does not have what was asked for.',
  request_too_large: 'The request was too large.',
  rate_limit_error: 'The upstream allowed no more at once.',
  timeout_error: 'The answer took too long.',
  overloaded_error: 'Claude was very busy.',
};
const UPSTREAM_ERROR_MESSAGE = 'The upstream answered with an error.';
const UNKNOWN_FAILURE_MESSAGE = 'Something went wrong at the edge or at the upstream.';

/**
 * @param type without what the ledger has behind a colon
 * @param isOfUpstream whether the upstream itself has answered so
 * @returns what has failed, of which the log has the reason
 */
export function describeFailureForOperator(type: string, isOfUpstream: boolean): string {
  const [, status] = /^upstream_(\d{3})$/.exec(type) ?? [];
  if (status) return `The upstream answered ${status} without an explanation.`;
  const other = isOfUpstream ? UPSTREAM_ERROR_MESSAGE : UNKNOWN_FAILURE_MESSAGE;
  return Object.hasOwn(FAILURE_MESSAGES, type) ? (FAILURE_MESSAGES[type] ?? other) : other;
}

/** @returns why a caller was refused, of whom an operator is not one: `your` limit is the account's */
export function describeRejectionForOperator(message: string): string {
  return message.replaceAll(/\byour (?=whole\b)/g, 'this account’s ');
}
