import { CORE_HEADER_WORDS, type HeaderWords } from '../http/headers/answer-headers.ts';
import * as z from '../http/zod.ts';

/** The core's headers of answers, and those of other programs. */
export const TOLD_HEADERS: Readonly<Record<string, HeaderWords>> = {
  ...CORE_HEADER_WORDS,
  'request-id': 'The upstream’s id where its answer was relayed, else ours.',
  'anthropic-ratelimit-requests-remaining':
    'One of the `anthropic-ratelimit-*` headers, which tell where this account stands.',
};

/** @returns the schema of a header with its words. @throws Error for one that has none */
export function headerSchema(name: string, told: HeaderWords | undefined): z.ZodMiniType {
  if (told === undefined) throw new Error(`No words say what the header ${name} is.`);
  return typeof told === 'string' ? z.described(z.string(), told) : z.described(z.literal(told.only), told.words);
}
