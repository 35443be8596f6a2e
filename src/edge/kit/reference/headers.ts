import * as z from '../http/zod.ts';

export type HeaderName = keyof typeof HEADERS;

/** Response headers, beside the ids that every answer carries. */
export const HEADERS = {
  'sluice-upstream': z.described(
    z.string(),
    'Which one of several upstreams has answered; `simulator` where the built-in simulator has.',
  ),
  'sluice-fallback-from': z.described(z.string(), 'The model that was asked for, where another one has stepped in.'),
  'sluice-cost-usd': z.described(z.string(), 'What it cost in US dollars; a stream says it in a comment at its end.'),
  'sluice-max-tokens': z.described(z.string(), 'What `max_tokens` was lowered to, so that the budget can pay for it.'),
  'sluice-agent': z.described(z.string(), 'The agent that has answered: name@version.'),
  'sluice-model-chosen': z.described(
    z.string(),
    'Where the agent chooses its model: the one that it has chosen, then `arm`, `why`, the `label` (percent-encoded) and the version of the `classifier`.',
  ),
  'sluice-history': z.described(
    z.literal('truncated'),
    'It went up without its oldest turns, and there was no summary of them.',
  ),
  'sluice-turn': z.described(z.string(), 'The turn of the conversation.'),
  'sluice-paused': z.described(
    z.string(),
    'Why a run has paused, where the answer does not stream; a stream says it in a comment.',
  ),
  'sluice-model-retires': z.described(z.string(), 'When the model retires, if it does so soon.'),
  'anthropic-ratelimit-requests-remaining': z.described(
    z.string(),
    'One of the `anthropic-ratelimit-*` headers, which tell where this account stands.',
  ),
} as const;
