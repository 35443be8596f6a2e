import type { Usage } from '@anthropic-ai/sdk/resources/messages';
import type { ConversationMessage, MessageStream } from '../../../client/index.ts';
import { formatCount } from '../../ui/format.ts';

/** @returns why the agent has chosen this model, in few words */
function whyChosen(header: string): string {
  const said = (name: string) => new RegExp(`; ${name}=([^;]+)`).exec(header)?.[1] ?? '';
  const why = said('why');
  if (why === 'control') return 'model: to compare';
  if (why === 'failed') return 'model: no label';
  return said('label') === '' ? 'model: as asked' : `model: ${decodeURIComponent(said('label'))}`;
}

/** Shows the tokens of an answer. The line is there from the start, so that nothing moves when they come. */
export function Figures({ row, stream }: { row: ConversationMessage | undefined; stream: MessageStream | undefined }) {
  const usage = (row?.usage ?? stream?.message?.usage) as Partial<Usage> | undefined;
  const lowered = stream?.headers?.get('sluice-max-tokens');
  const chosen = stream?.headers?.get('sluice-model-chosen');
  if (!usage) return <span class="figures" />;
  const { input_tokens, output_tokens, cache_read_input_tokens: read, cache_creation_input_tokens: written } = usage;
  return (
    <span class="figures">
      {/* One text: of two the second moves when the sum of a run's steps is longer. */}
      <span>{`${formatCount(input_tokens ?? 0)} in`}</span>
      {read ? <span class="hit">{formatCount(read)} from cache</span> : null}
      {written ? <span>{formatCount(written)} to cache</span> : null}
      {row && <span>{formatCount(output_tokens ?? 0)} out</span>}
      {chosen && <span title={chosen}>{whyChosen(chosen)}</span>}
      {lowered && <span>limited to {formatCount(Number(lowered))} out by the budget</span>}
    </span>
  );
}
