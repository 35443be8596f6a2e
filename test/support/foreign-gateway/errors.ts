/** Errors as gateways write them that speak the Claude API's language, and what other upstreams refuse that the first one takes. */

/** The words by which Claude Code knows that it must compact. */
export const TOO_LONG_MESSAGE = 'prompt is too long: 250000 tokens > 200000 maximum';

/** The body of an error in each form that is seen, made of its words. The last one is the API's own. */
export const ERROR_BODIES: Readonly<Record<string, (words: string) => unknown>> = {
  'an error with a message': (message) => ({ error: { message, param: null, code: '400' } }),
  'an error that is its words': (error) => ({ error }),
  'a message': (message) => ({ message }),
  'a detail': (detail) => ({ detail }),
  'a list of details': (msg) => ({ detail: [{ type: 'value_error', loc: ['body', 'messages'], msg, input: {} }] }),
  'an object that is an error': (message) => ({ object: 'error', message, type: 'BadRequestError', code: 400 }),
  'a list': (message) => [{ error: { code: 400, message, status: 'INVALID_ARGUMENT' } }],
  'an error without the outer type': (message) => ({ error: { type: 'invalid_request_error', message } }),
  'the form of the API': (message) => ({ type: 'error', error: { type: 'invalid_request_error', message } }),
};

/** @returns a stream of the status 200 that is nothing but an error, in an event without a name */
export const namelessErrorStream = (body: unknown): string => `data: ${JSON.stringify(body)}\n\n`;

/** @returns the same with the name that the API gives it */
export const namedErrorStream = (body: unknown): string => `event: error\n${namelessErrorStream(body)}`;

/** @returns a gateway's refusal, in a form of `ERROR_BODIES` */
export const gatewayError = (form: string, words: string, status = 400): Response =>
  Response.json(ERROR_BODIES[form]?.(words), { status });

/** What one upstream refuses and another one takes: features that it does not have, and names that it does not know. */
export const UPSTREAM_SPECIFIC_ERRORS: readonly (readonly [form: string, words: string, status: number])[] = [
  ['the form of the API', 'invalid beta flag', 400],
  ['a message', 'The provided model identifier is invalid.', 400],
  ['a list', 'Request contains an invalid argument.', 400],
  ['a list of details', 'Extra inputs are not permitted', 422],
];

/** What every upstream refuses in the same words, since the model itself does; by the rule of the API. */
export const UNIVERSAL_ERRORS: Readonly<Record<string, string>> = {
  'the prompt': TOO_LONG_MESSAGE,
  'the window': 'Input is too long for requested model.',
  max_tokens: 'max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5',
  prefill: 'This model does not support assistant message prefill. The conversation must end with a user message.',
  'a forced tool': 'tool_choice: type "tool" and "any" are not supported for this model.',
  'a call without its result':
    'messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. Each `tool_use` block must have a corresponding `tool_result` block in the next message.',
  'a changed signature': 'messages.1.content.0: Invalid `signature` in `thinking` block',
  'changed thinking':
    'messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must remain as they were in the original response.',
  'another conversation':
    'messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation. Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block".',
  'a long lifetime behind a short one':
    "messages.0.content.0.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.",
  'a cached empty text': 'messages.0.content.0.text: cache_control cannot be set for empty text blocks',
  'cached thinking': 'messages.1.content.0.thinking.cache_control: Extra inputs are not permitted',
};
