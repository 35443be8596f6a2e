/** Describes errors to the operator, with other words than those for callers. */

import { getLimitTitle, isLimitName } from './limit-names.ts';

/** Descriptions of failures, by the `error_type` in the ledger. Other types are described as an `api_error`. */
const FAILURE_MESSAGES: Readonly<Record<string, string>> = {
  upstream_auth: 'The upstream rejected this deployment.',
  upstream_unreachable: 'The upstream could not be reached.',
  upstream_timeout: 'The upstream did not respond in time.',
  upstream_silent: 'The upstream stopped sending before the response was complete.',
  upstream_cut: 'The connection to the upstream broke before the response was complete.',
  upstream_unreadable: 'The upstream sent an event that is not JSON, so the response ended there.',
  upstream_redirect:
    'The upstream responded with a redirect. Set ANTHROPIC_BASE_URL, or base_url in UPSTREAMS, to the final address.',
  upstream_no_answer:
    'The server at the upstream’s address is not the Claude API. Check ANTHROPIC_BASE_URL, or base_url in UPSTREAMS.',
  upstream_no_headers:
    'The upstream received the request, but did not return valid response headers. If this persists, check the server at ANTHROPIC_BASE_URL, or base_url in UPSTREAMS.',
  client_gone: 'The caller disconnected before the response ended.',
  invalid_request_error: 'The upstream rejected the request as invalid.',
  not_found_error: 'The upstream does not have the requested resource.',
  request_too_large: 'The request was too large.',
  rate_limit_error: 'A rate limit of the upstream was reached.',
  timeout_error: 'The response took too long.',
  overloaded_error: 'Claude was overloaded.',
};
const UPSTREAM_ERROR_MESSAGE = 'The upstream responded with an error.';
const UNKNOWN_FAILURE_MESSAGE = 'An error occurred in Sluice or at the upstream.';

/**
 * @param type without what the ledger has behind a colon
 * @param isOfUpstream whether the upstream itself has answered so
 * @returns what has failed, of which the log has the reason
 */
export function describeFailureForOperator(type: string, isOfUpstream: boolean): string {
  const [, status] = /^upstream_(\d{3})$/.exec(type) ?? [];
  if (status) return `The upstream responded with ${status} without an explanation.`;
  const other = isOfUpstream ? UPSTREAM_ERROR_MESSAGE : UNKNOWN_FAILURE_MESSAGE;
  return Object.hasOwn(FAILURE_MESSAGES, type) ? (FAILURE_MESSAGES[type] ?? other) : other;
}

const SEND_AGAIN = 'The caller can send the request again.';
const UPSTREAM_REMEDY = `${SEND_AGAIN} If this happens often, the operator can check the upstream, or add another one (UPSTREAMS).`;
/** What to do about failures whose message does not say it, by the `error_type` in the ledger. */
const FAILURE_REMEDIES: Readonly<Record<string, string>> = {
  upstream_auth: 'The operator must check the upstream’s key and organization.',
  upstream_redirect: 'The operator must correct the setting.',
  upstream_no_answer: 'The operator must correct the setting.',
  client_gone: SEND_AGAIN,
  invalid_request_error: 'The caller must correct the request.',
  not_found_error: 'The caller must correct the name of the model or resource.',
  request_too_large: 'The caller must send less.',
  rate_limit_error: `${SEND_AGAIN} If this happens often, the operator can ask Anthropic for higher rate limits, or an admin can limit the tokens per minute of accounts.`,
  overloaded_error: `${SEND_AGAIN} An admin can set “Fallback models” in the limits of the account, which then respond in this case.`,
};

/** @param type as for `describeFailureForOperator`. @returns what to do about the failure, and who can do it */
export function findFailureRemedy(type: string): string {
  return (Object.hasOwn(FAILURE_REMEDIES, type) ? FAILURE_REMEDIES[type] : undefined) ?? UPSTREAM_REMEDY;
}

/**
 * @returns why a caller was rejected, for an operator: `your` limit becomes the account's, limits have their titles, and the advice
 *   to ask an admin is left out
 */
export function describeRejectionForOperator(message: string): string {
  return message
    .replaceAll(/`(\w+)`/g, (_, name: string) => (isLimitName(name) ? `“${getLimitTitle(name)}”` : name))
    .replaceAll(/\byour (?=\w+ limit\b)/g, 'this account’s ')
    .replace(/ Ask (?:an admin|the operator) to [^.]+\.$/, '');
}
