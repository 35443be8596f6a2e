import type { UsageReport } from '../../../client/index.ts';

/** @returns all tokens of the input, also those that were read from the cache or written to it */
export function sumAllInputTokens(usage: UsageReport['total']['usage']): number {
  return (
    usage.input_tokens +
    usage.cache_read_input_tokens +
    usage.cache_write_5m_input_tokens +
    usage.cache_write_1h_input_tokens
  );
}
