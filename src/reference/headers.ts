import * as z from 'zod';

export type HeaderName = keyof typeof HEADERS;

/** Response headers, beside the ids that every answer carries. */
export const HEADERS = {
  'sluice-upstream': z.enum(['simulator']).describe('Present where the simulator has answered.'),
  'sluice-cost-usd': z.string().describe('What it cost in US dollars; a stream says it in a comment at its end.'),
  'sluice-max-tokens': z.string().describe('What `max_tokens` was lowered to, so that the budget can pay for it.'),
  'sluice-turn': z.string().describe('The turn of the conversation.'),
  'sluice-model-retires': z.string().describe('When the model retires, if it does so soon.'),
  'anthropic-ratelimit-requests-remaining': z
    .string()
    .describe('One of the `anthropic-ratelimit-*` headers, which tell where this account stands.'),
} as const;
