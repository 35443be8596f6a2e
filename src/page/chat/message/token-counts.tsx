import type { Usage } from '@anthropic-ai/sdk/resources/messages';
import { formatCount } from '../../ui/format.ts';

interface TokenCountsProps {
  /** The usage as the API reports it, in which `input_tokens` lacks what was read from the cache or written to it. */
  usage: Partial<Usage>;
  /** Whether the response still grows. Then only the input is known. */
  isGrowing?: boolean;
}

/**
 * Shows the tokens of a response as the lists of requests count them: all of the input, and how much of that was read from the
 * cache or written to it.
 */
export function TokenCounts({ usage, isGrowing = false }: TokenCountsProps) {
  const { input_tokens, output_tokens, cache_read_input_tokens: read, cache_creation_input_tokens: written } = usage;
  const input = (input_tokens ?? 0) + (read ?? 0) + (written ?? 0);
  return (
    <>
      <span title="Tokens of the input, with history, prefix and tools">
        {`${formatCount(input)} in`}
        {/* While the response grows, further figures would move when the output becomes longer. */}
        {!isGrowing && (read || written) ? (
          <>
            {' ('}
            {read ? <span class="hit">{formatCount(read)} from cache</span> : null}
            {read && written ? ', ' : null}
            {written ? `${formatCount(written)} to cache` : null})
          </>
        ) : null}
      </span>
      {!isGrowing && (
        <span title="Tokens of the output, with thinking">{`${formatCount(output_tokens ?? 0)} out`}</span>
      )}
    </>
  );
}
