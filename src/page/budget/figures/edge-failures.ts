/** What a caller reads where a call of the upstream fails, word for word as the edge says it, by the `error_type` in the ledger. */
export const EDGE_FAILURES = {
  upstream_auth: 'The upstream refused this deployment. Its operator finds the reason in the log.',
  upstream_unreachable: 'The upstream could not be reached. Try again in a moment.',
  upstream_timeout: 'The upstream did not answer in time. Try again, or stream the answer.',
  upstream_silent:
    'The upstream fell silent in the middle of its answer. What came before stands; send the request again for a whole one.',
  upstream_cut:
    'The connection to the upstream broke in the middle of its answer. Send the request again for a whole one.',
  upstream_redirect:
    'The upstream answered with a redirect. Its operator must set ANTHROPIC_BASE_URL, or `base_url` in UPSTREAMS, to the final address.',
  upstream_no_answer:
    'What answered in the place of the upstream is not the Claude API. Its operator must check ANTHROPIC_BASE_URL, or `base_url` in UPSTREAMS.',
  client_gone: 'The caller left before the answer ended.',
} as const;

/** @returns what a caller has read of a failure that the edge tells in its own words; undefined for the API's */
export function describeEdgeFailure(type: string): string | undefined {
  const [, status] = /^upstream_(\d{3})$/.exec(type) ?? [];
  if (status) return `The upstream answered ${status} without an explanation.`;
  return Object.hasOwn(EDGE_FAILURES, type) ? EDGE_FAILURES[type as keyof typeof EDGE_FAILURES] : undefined;
}
