import { SmallButton } from '../../ui/button.tsx';
import { go } from '../../ui/route.ts';
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
