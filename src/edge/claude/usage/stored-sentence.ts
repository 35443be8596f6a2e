/** Where in a request an error is: only indices and the API's own names, which quote nothing. */
const PATH =
  '(?:messages|system|tools)(?:\\.(?:\\d+|content|custom|text|image|document|tool_use|tool_result|thinking|redacted_thinking))*';
/**
 * The sentences of the API that `upstream-error.ts` knows, as the ledger stores them. An error may contain any text, so each
 * pattern matches the beginning of the message, and only fixed words, numbers and times. The text behind the match may quote the
 * request, and is not stored.
 */
const STORED_SENTENCES: readonly RegExp[] = [
  /^Your credit balance is too low to access the (?:Anthropic|Claude) API\b/,
  /^You have reached your specified (?:workspace )?API usage limits\.?(?: You will regain access on \d{4}-\d\d-\d\d at \d\d:\d\d UTC\b)?/,
  /^You have reached your API usage limits: your organization has crossed its monthly API usage threshold\b/,
  /^This organization has been disabled\b/,
  /^prompt is too long(?:: \d+ tokens > \d+ maximum)?/i,
  /^input is too long(?: for requested model)?/i,
  /^max_tokens: \d+ > \d+, which is the maximum allowed number of output tokens\b/,
  /^This model does not support assistant message prefill\b(?:\. The conversation must end with a user message\b)?/,
  /^tool_choice: type "tool" and "any" are not supported for this model\b/,
  new RegExp(`^${PATH}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after\\b`),
  new RegExp(`^${PATH}: Invalid \`signature\` in \`thinking\` block\\b`),
  new RegExp(
    `^${PATH}: \`thinking\` or \`redacted_thinking\` blocks in the latest assistant message cannot be modified\\b`,
  ),
  new RegExp(
    `^${PATH}\\.cache_control(?:\\.ttl)?: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block\\b`,
  ),
  new RegExp(`^${PATH}(?:\\.cache_control)?: cache_control cannot be set for empty text blocks\\b`),
  new RegExp(`^${PATH}\\.cache_control(?:\\.(?:type|ttl|scope))?: Extra inputs are not permitted\\b`),
];

/** @returns the API's own sentence at the beginning of an error's message, which may be stored; undefined if it is not known. */
export function findStoredSentence(message: string): string | undefined {
  for (const sentence of STORED_SENTENCES) {
    const [found] = sentence.exec(message) ?? [];
    if (found !== undefined) return found;
  }
  return undefined;
}
