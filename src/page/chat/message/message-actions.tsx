import type { ConversationMessage } from '../../../client/index.ts';
import { isRestricted } from '../../edge/identity.ts';
import { hasPlugin } from '../../edge/plugins.ts';
import { CopyButton } from '../../ui/copy-button.tsx';
import { IconButton } from '../../ui/icon.tsx';
import { navigateToSection } from '../../ui/route.ts';
import { Toolbar } from '../../ui/toolbar.tsx';
import { Usd } from '../../ui/usd.tsx';
import { loadMessageIntoDraft } from '../composer/draft.ts';
import type { MessageBranches } from '../session/branches.ts';
import { askInConversationCopy, forkAndShowConversation, session as shownSession } from '../session/conversations.ts';
import type { Session } from '../session/session.ts';

interface MessageActionsProps {
  row: ConversationMessage;
  session: Session;
  getText: () => string;
}

/** Shows what can be done with a message, and what an answer has cost. */
export function MessageActions({ row, session, getText: text }: MessageActionsProps) {
  const busy = session.isBusy.value;
  const rows = session.rows.value;
  const choice = session.choices.value.get(rows.indexOf(row));
  const showActionFault = (thrown: unknown) => shownSession.value?.showFailure(thrown);
  // Asking again creates a copy of the conversation, which needs the `transfer` plugin, and changes the copy.
  const canFork = hasPlugin('transfer') && !isRestricted();
  const question = rows.slice(0, rows.indexOf(row)).findLast(({ role }) => role === 'user');
  return (
    <Toolbar label="Actions">
      {choice && <BranchSwitcher choice={choice} />}
      <CopyButton text={text} word="Copy" />
      {canFork && row.role === 'user' && (
        <IconButton
          icon="edit"
          word="Edit"
          label="Edit and ask again"
          disabled={busy}
          onClick={() => loadMessageIntoDraft(row.content, row.id)}
        />
      )}
      {canFork && row.role === 'assistant' && question && (
        <IconButton
          icon="again"
          word="Regenerate"
          label="Regenerate"
          disabled={busy}
          onClick={() => void askInConversationCopy(session, question.id, question.content).catch(showActionFault)}
        />
      )}
      {canFork && row.role === 'assistant' && (
        <IconButton
          icon="fork"
          word="Fork"
          label="Fork from here"
          disabled={busy}
          onClick={() => void forkAndShowConversation(session.id, row.id).catch(showActionFault)}
        />
      )}
      {row.cost_usd != null && (
        <span class="cost">
          <Usd value={row.cost_usd} />
        </span>
      )}
    </Toolbar>
  );
}

/** Moves between the answers to a question that was asked again, or edited. */
function BranchSwitcher({ choice: { ids, shownIndex: shown } }: { choice: MessageBranches }) {
  const showNeighbourBranch = (offset: number) => {
    const id = ids[shown + offset];
    return { disabled: id === undefined, onClick: () => id !== undefined && navigateToSection('chat', id, true) };
  };
  return (
    <span class="branches">
      <IconButton icon="previous" label="Previous branch" {...showNeighbourBranch(-1)} />
      <span title={`Branch ${shown + 1} of ${ids.length}`}>
        {shown + 1}/{ids.length}
      </span>
      <IconButton icon="next" label="Next branch" {...showNeighbourBranch(1)} />
    </span>
  );
}
