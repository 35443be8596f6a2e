import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  findKeyRejectionCause,
  findStoredSentence,
  isStandardApiErrorMessage,
} from '#edge/claude/usage/api-sentences.ts';

/** Each message of the API, and the part of it that is stored. */
const MESSAGES: readonly (readonly [message: string, stored: string])[] = [
  [
    'Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.',
    'Your credit balance is too low to access the Anthropic API',
  ],
  ['You have reached your specified API usage limits.', 'You have reached your specified API usage limits.'],
  [
    'You have reached your specified workspace API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.',
    'You have reached your specified workspace API usage limits. You will regain access on 2026-12-01 at 00:00 UTC',
  ],
  [
    'You have reached your API usage limits: your organization has crossed its monthly API usage threshold of Acme',
    'You have reached your API usage limits: your organization has crossed its monthly API usage threshold',
  ],
  ['This organization has been disabled.', 'This organization has been disabled'],
  ['prompt is too long: 210000 tokens > 200000 maximum', 'prompt is too long: 210000 tokens > 200000 maximum'],
  ['Input is too long for requested model.', 'Input is too long for requested model'],
  [
    'max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for my-private-model',
    'max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens',
  ],
  [
    'This model does not support assistant message prefill. The conversation must end with a user message.',
    'This model does not support assistant message prefill. The conversation must end with a user message',
  ],
  [
    'tool_choice: type "tool" and "any" are not supported for this model.',
    'tool_choice: type "tool" and "any" are not supported for this model',
  ],
  [
    'messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_01Secret. Each `tool_use` block must have a corresponding `tool_result` block in the next message.',
    'messages.2: `tool_use` ids were found without `tool_result` blocks immediately after',
  ],
  [
    'messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation.',
    'messages.1.content.0: Invalid `signature` in `thinking` block',
  ],
  [
    'messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must remain as they were in the original response.',
    'messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified',
  ],
  [
    "messages.0.content.1.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are processed in the following order: `tools`, `system`, `messages`.",
    "messages.0.content.1.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block",
  ],
  [
    'system.0: cache_control cannot be set for empty text blocks',
    'system.0: cache_control cannot be set for empty text blocks',
  ],
  [
    'tools.0.cache_control.scope: Extra inputs are not permitted',
    'tools.0.cache_control.scope: Extra inputs are not permitted',
  ],
];

describe('the stored sentence of an error', () => {
  test.each(MESSAGES)('%s', (message, stored) => {
    expect(findStoredSentence(message)).toBe(stored);
    // The stored part alone is classified, too: `hideOperatorMessage` reads it from the ledger.
    expect(findKeyRejectionCause(stored) !== undefined || isStandardApiErrorMessage(stored)).toBe(true);
  });

  test.each([
    '',
    'Overloaded',
    'messages.0.content: You have reached your specified API usage limits',
    'litellm.BadRequestError: prompt is too long: 210000 tokens > 200000 maximum',
    'You said “prompt is too long”.',
    'tools.0.input_schema.properties.my_secret.cache_control: Extra inputs are not permitted',
    'tools.0.cache_control.my_secret: Extra inputs are not permitted',
    'my_secret: Extra inputs are not permitted',
  ])('is absent if a gateway wrote the message, or if it quotes the request: %s', (message) => {
    expect(findStoredSentence(message)).toBeUndefined();
  });

  test('never contains other words of the message, before or after it', () => {
    fc.assert(
      fc.property(fc.constantFrom(...MESSAGES), fc.string(), ([, stored], words) => {
        expect(findStoredSentence(`${stored} ${words}`)).toBe(stored);
        expect(findStoredSentence(`x ${words}${stored}`)).toBeUndefined();
      }),
    );
  });
});
