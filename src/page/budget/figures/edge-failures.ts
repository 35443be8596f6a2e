/**
 * The messages that callers receive when a call to the upstream fails, exactly as the edge sends them, by the `error_type` in
 * the ledger.
 */
export const EDGE_FAILURES = {
  upstream_auth: 'The upstream rejected this deployment. The operator can find the reason in the log.',
  upstream_unreachable: 'The upstream could not be reached. Try again in a moment.',
  upstream_timeout: 'The upstream did not respond in time. Try again, or stream the response.',
  upstream_silent:
    'The upstream stopped sending before the response was complete. The part that you received is valid. Send the request again for a complete response.',
  upstream_cut:
    'The connection to the upstream broke before the response was complete. Send the request again for a complete response.',
  upstream_unreadable:
    'The upstream sent an event that is not JSON, so the response ended there. Send the request again for a complete response.',
  upstream_redirect:
    'The upstream responded with a redirect. The operator must set ANTHROPIC_BASE_URL, or `base_url` in UPSTREAMS, to the final address.',
  upstream_no_answer:
    'The server at the upstream’s address is not the Claude API. The operator must check ANTHROPIC_BASE_URL, or `base_url` in UPSTREAMS.',
  upstream_no_headers:
    'The upstream received the request, but did not return valid response headers. Try again; if it persists, the operator must check the server at ANTHROPIC_BASE_URL, or `base_url` in UPSTREAMS.',
  client_gone: 'The caller disconnected before the response ended.',
} as const;

/** @returns the text that callers saw for an error of the edge's own; undefined for errors of the API */
export function describeEdgeFailure(type: string): string | undefined {
  const [, status] = /^upstream_(\d{3})$/.exec(type) ?? [];
  if (status)
    return `The upstream responded with ${status} without an explanation. If this persists, give the operator the request id.`;
  return Object.hasOwn(EDGE_FAILURES, type) ? EDGE_FAILURES[type as keyof typeof EDGE_FAILURES] : undefined;
}
