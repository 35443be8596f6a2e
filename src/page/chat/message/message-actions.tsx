import type { ConversationMessage } from '../../../client/index.ts';
import { hasPlugin } from '../../edge/plugins.ts';
import { CopyButton } from '../../ui/copy-button.tsx';
import { IconButton } from '../../ui/icon.tsx';
import { go } from '../../ui/route.ts';
import { Toolbar } from '../../ui/toolbar.tsx';
import { Usd } from '../../ui/usd.tsx';
import { editDraft } from '../composer/draft.ts';
import type { Choice } from '../session/branches.ts';
import { askInstead, fork, session as shownSession } from '../session/conversations.ts';
import type { Session } from '../session/session.ts';

interface MessageActionsProps {
  row: ConversationMessage;
  session: Session;
  text: () => string;
}

/** Shows what can be done with a message, and what an answer has cost. */
export function MessageActions({ row, session, text }: MessageActionsProps) {
  const busy = session.busy.value;
  const rows = session.rows.value;
  const choice = session.choices.value.get(rows.indexOf(row));
  const showFault = (thrown: unknown) => shownSession.value?.fail(thrown);
  // To ask again is to ask in a copy.
  const canFork = hasPlugin('transfer');
  const question = rows.slice(0, rows.indexOf(row)).findLast(({ role }) => role === 'user');
  return (
    <Toolbar label="Actions">
      {choice && <Branches choice={choice} />}
      <CopyButton text={text} word="Copy" />
      {canFork && row.role === 'user' && (
        <IconButton
          icon="edit"
          word="Edit"
          label="Edit and ask again"
          disabled={busy}
          onClick={() => editDraft(row.content, row.id)}
        />
      )}
      {canFork && row.role === 'assistant' && question && (
        <IconButton
          icon="again"
          word="Regenerate"
          label="Regenerate"
          disabled={busy}
          onClick={() => void askInstead(session, question.id, question.content).catch(showFault)}
        />
      )}
      {canFork && row.role === 'assistant' && (
        <IconButton
          icon="fork"
          word="Fork"
          label="Fork from here"
          disabled={busy}
          onClick={() => void fork(session.id, row.id).catch(showFault)}
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
function Branches({ choice: { ids, shown } }: { choice: Choice }) {
  const step = (by: number) => {
    const id = ids[shown + by];
    return { disabled: id === undefined, onClick: () => id !== undefined && go('chat', id, true) };
  };
  return (
    <span class="branches">
      <IconButton icon="previous" label="Previous branch" {...step(-1)} />
      <span title={`Branch ${shown + 1} of ${ids.length}`}>
        {shown + 1}/{ids.length}
      </span>
      <IconButton icon="next" label="Next branch" {...step(1)} />
    </span>
  );
}
