import { model } from '../../edge/models.ts';
import { SmallButton } from '../../ui/button.tsx';
import { formatCount } from '../../ui/format.ts';
import { askInstead, session as shownSession } from '../session/conversations.ts';
import type { Silence } from '../session/entries.ts';
import type { Session } from '../session/session.ts';

/** So many times the room that was not enough is asked for next. */
const MORE = 8;

/** Says why an answer has no text, and asks again: as before, or with more room. */
export function NoText({ of: { question, step }, session }: { of: Silence; session: Session }) {
  const used = step.stop_reason === 'max_tokens' ? Number(step.usage?.output_tokens ?? 0) : 0;
  const room = Math.min(used * MORE, model.value?.max_tokens ?? Number.POSITIVE_INFINITY);
  const isOfAgent = !!session.report.value?.agent;
  const again = (most?: number) => ({
    disabled: session.busy.value,
    onClick: () =>
      void askInstead(session, question.id, question.content, most).catch((thrown) => shownSession.value?.fail(thrown)),
  });
  return (
    <div class="pause">
      <p>
        {used === 0
          ? 'The model has ended its answer without a text.'
          : `The model used all its max_tokens (${formatCount(used)}) for thinking before it wrote.`}
        {used > 0 && isOfAgent && ' How many it has is the agent’s: store it with more.'}
      </p>
      <p class="row">
        {room > used && !isOfAgent && (
          <SmallButton kind="first" name={`Ask again with ${formatCount(room)} tokens`} {...again(room)} />
        )}
        <SmallButton name="Regenerate" {...again()} />
      </p>
    </div>
  );
}
