/** The API's own sentences in errors that have no code: what each one means, and which part of it may be stored. */

/** A sentence of the API. */
interface ApiSentence {
  /** Recognizes the sentence in an error's message. If it is anchored, the message must begin with the sentence. */
  pattern: RegExp;
  /**
   * The part that the ledger may store. An error may contain any text, so this matches the beginning of the message, and only
   * fixed words, numbers and times. The text behind the match may quote the request, and is not stored.
   */
  stored: RegExp;
  /** Why the API rejects the deployment's key: a code of the API, or a name of our own. Absent if a request is rejected. */
  cause?: string;
  /** Whether the sentence rejects thinking. Each upstream signs its own, so another one may accept the request. */
  isAboutThinking?: boolean;
}

/** Where in a request an error is: only indices and the API's own names, which quote nothing. */
const PATH =
  '(?:messages|system|tools)(?:\\.(?:\\d+|content|custom|text|image|document|tool_use|tool_result|thinking|redacted_thinking))*';

const API_SENTENCES: readonly ApiSentence[] = [
  // Sentences about the key must begin the message, because an error may quote its caller. Only the first may follow the words
  // of a gateway.
  {
    cause: 'credit_used_up',
    pattern: /\bcredit balance is too low\b/i,
    stored: /^Your credit balance is too low to access the (?:Anthropic|Claude) API\b/,
  },
  {
    cause: 'own_spend_limit_reached',
    pattern: /^You have reached your specified (?:workspace )?API usage limits\b/,
    stored:
      /^You have reached your specified (?:workspace )?API usage limits\.?(?: You will regain access on \d{4}-\d\d-\d\d at \d\d:\d\d UTC\b)?/,
  },
  {
    cause: 'enforced_spend_limit_reached',
    pattern: /^You have reached your API usage limits: your organization has crossed\b/,
    stored: /^You have reached your API usage limits: your organization has crossed its monthly API usage threshold\b/,
  },
  {
    cause: 'organization_disabled',
    pattern: /^This organization has been disabled\b/,
    stored: /^This organization has been disabled\b/,
  },
  {
    pattern: /\bprompt is too long\b/i,
    stored: /^prompt is too long(?:: \d+ tokens > \d+ maximum)?/i,
  },
  {
    pattern: /\binput is too long\b/i,
    stored: /^input is too long(?: for requested model)?/i,
  },
  {
    pattern: /\bmaximum allowed number of output tokens\b/i,
    stored: /^max_tokens: \d+ > \d+, which is the maximum allowed number of output tokens\b/,
  },
  {
    pattern: /\bassistant message prefill\b/i,
    stored:
      /^This model does not support assistant message prefill\b(?:\. The conversation must end with a user message\b)?/,
  },
  {
    pattern: /^tool_choice: type .* not supported/i,
    stored: /^tool_choice: type "tool" and "any" are not supported for this model\b/,
  },
  {
    pattern: /\btool_use\W+ids were found without\b/i,
    stored: new RegExp(`^${PATH}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after\\b`),
  },
  {
    isAboutThinking: true,
    pattern: /\bInvalid\W+signature\W+in\W+thinking\b/i,
    stored: new RegExp(`^${PATH}: Invalid \`signature\` in \`thinking\` block\\b`),
  },
  {
    isAboutThinking: true,
    pattern: /\blatest assistant message cannot be modified\b/i,
    stored: new RegExp(
      `^${PATH}: \`thinking\` or \`redacted_thinking\` blocks in the latest assistant message cannot be modified\\b`,
    ),
  },
  {
    pattern: /\bcache_control\b.*must not come after/i,
    stored: new RegExp(
      `^${PATH}\\.cache_control(?:\\.ttl)?: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block\\b`,
    ),
  },
  {
    pattern: /\bcache_control\b.*cannot be set/i,
    stored: new RegExp(`^${PATH}(?:\\.cache_control)?: cache_control cannot be set for empty text blocks\\b`),
  },
  {
    pattern: /\bcache_control\b.*extra inputs/i,
    stored: new RegExp(`^${PATH}\\.cache_control(?:\\.(?:type|ttl|scope))?: Extra inputs are not permitted\\b`),
  },
];

/** @returns why the API rejects the deployment's key; undefined if the message is not known to be about the key. */
export function findKeyRejectionCause(message: string): string | undefined {
  return API_SENTENCES.find(({ cause, pattern }) => cause !== undefined && pattern.test(message))?.cause;
}

/** @returns whether any upstream would reject the request with this message. */
export function isStandardApiErrorMessage(message: string): boolean {
  return API_SENTENCES.some(({ cause, pattern }) => cause === undefined && pattern.test(message));
}

/** @returns whether a message rejects thinking that another upstream may have signed. */
export function isThinkingRejectionMessage(message: string): boolean {
  return API_SENTENCES.some(({ isAboutThinking, pattern }) => isAboutThinking && pattern.test(message));
}

/** @returns the API's own sentence at the beginning of an error's message, which may be stored; undefined if it is not known. */
export function findStoredSentence(message: string): string | undefined {
  for (const { stored } of API_SENTENCES) {
    const [found] = stored.exec(message) ?? [];
    if (found !== undefined) return found;
  }
  return undefined;
}
