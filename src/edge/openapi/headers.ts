import { CORE_HEADER_DESCRIPTIONS } from '../kit/http/headers/response-headers.ts';
import * as z from '../kit/http/zod.ts';

/** The description of a header; with its value, if it has only one. */
type HeaderDescription = string | { only: string; words: string };

/** The core's headers of answers, and those of other programs. */
export const RESPONSE_HEADERS: Readonly<Record<string, HeaderDescription>> = {
  ...CORE_HEADER_DESCRIPTIONS,
  'sluice-history': {
    only: 'truncated',
    words:
      'The request was sent without the oldest turns of the conversation, because no summary of them was available.',
  },
  'request-id': 'The upstream’s id of the request if its response was forwarded, otherwise Sluice’s id.',
  'anthropic-ratelimit-requests-remaining':
    'One of the `anthropic-ratelimit-*` headers, which contain the limits and usage of this account.',
};

/** @returns the schema of a header with its description. @throws Error for a header without a description */
export function createHeaderSchema(name: string, words: HeaderDescription | undefined): z.ZodMiniType {
  if (words === undefined)
    throw new Error(`The header ${name} has no description. Add one to the header descriptions of its plugin.`);
  return typeof words === 'string'
    ? z.addDescription(z.string(), words)
    : z.addDescription(z.literal(words.only), words.words);
}
