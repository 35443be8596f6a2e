import type { Usage } from '@anthropic-ai/sdk/resources/messages';
import type { ConversationMessage, MessageStream } from '../../../client/index.ts';
import { formatCount } from '../../ui/format.ts';

type ModelReason = Pick<NonNullable<ConversationMessage['chosen_by']>, 'label' | 'classifier'> & { why: string };

/** @returns how the model was chosen, as the header of an answer says it */
function reasonIn(header: string): ModelReason {
  const said = (name: string) => new RegExp(`; ${name}=([^;]+)`).exec(header)?.[1];
  const label = said('label');
  const [why = '', classifier = null] = [said('why'), said('classifier')];
  return { why, label: label === undefined ? null : decodeURIComponent(label), classifier };
}

/** Says in few words why the agent has chosen this model. */
function WhyChosen({ reason: { why, label, classifier } }: { reason: ModelReason }) {
  const asked = why === 'control' ? 'to compare' : why === 'failed' ? 'no label' : 'as asked';
  return <span title={[why, classifier].filter(Boolean).join(', ')}>{`model: ${label ?? asked}`}</span>;
}

/** Shows the tokens of an answer. The line is there from the start, so that nothing moves when they come. */
export function Figures({ row, stream }: { row: ConversationMessage | undefined; stream: MessageStream | undefined }) {
  const usage = (row?.usage ?? stream?.message?.usage) as Partial<Usage> | undefined;
  const lowered = stream?.headers?.get('sluice-max-tokens');
  const told = stream?.headers?.get('sluice-model-chosen');
  const reason = row?.chosen_by ?? (told ? reasonIn(told) : undefined);
  if (!usage) return <span class="figures" />;
  const { input_tokens, output_tokens, cache_read_input_tokens: read, cache_creation_input_tokens: written } = usage;
  return (
    <span class="figures">
      {/* One text: of two the second moves when the sum of a run's steps is longer. */}
      <span>{`${formatCount(input_tokens ?? 0)} in`}</span>
      {read ? <span class="hit">{formatCount(read)} from cache</span> : null}
      {written ? <span>{formatCount(written)} to cache</span> : null}
      {row && <span>{formatCount(output_tokens ?? 0)} out</span>}
      {reason && <WhyChosen reason={reason} />}
      {lowered && <span>limited to {formatCount(Number(lowered))} out by the budget</span>}
    </span>
  );
}
