import { model } from '../../edge/models.ts';
import { SmallButton } from '../../ui/button.tsx';
import { formatCount } from '../../ui/format.ts';
import { go } from '../../ui/route.ts';
import { askInstead, session as shownSession } from '../session/conversations.ts';
import type { Silence } from '../session/entries.ts';
import type { Session } from '../session/session.ts';
import { ApprovalCards } from './approval-card.tsx';

const REASONS: Record<string, string> = {
  max_turns: 'Paused: it has taken as many steps as it may.',
  max_usd: 'Paused: it has spent as much as it may.',
  max_seconds: 'Paused: it has run for as long as it may.',
  max_tool_calls: 'Paused: it has called as many tools as it may.',
  repeated_call: 'Paused: it has called the same tool with the same input three times in a row.',
  budget: 'Paused: the budget does not cover the next step.',
  revoked: 'Paused: the token was revoked.',
};

/** So many times the room that was not enough is asked for next. */
const MORE = 8;

interface PauseNoteProps {
  /** Why it has paused; undefined where the API itself has, in a tool of its own. */
  reason: string | undefined;
  session: Session;
  /** Whether nothing has been said since. */
  isLast: boolean;
}

/** Says why an answer has paused, and lets it go on. */
export function PauseNote({ reason, session, isLast }: PauseNoteProps) {
  if (reason === 'approval') return isLast ? <ApprovalCards session={session} /> : null;
  return (
    <div class="pause">
      <p>{reason === undefined ? 'Paused by the API.' : (REASONS[reason] ?? `Paused: ${reason}.`)}</p>
      {isLast && (
        <p class="row">
          <SmallButton kind="first" name="Continue" disabled={session.busy.value} onClick={() => void session.goOn()} />
          {reason === 'budget' && <SmallButton name="Open Budget" onClick={() => go('budget')} />}
        </p>
      )}
    </div>
  );
}

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
