import { useAction } from '../edge/async-action.ts';
import { announce } from '../ui/announcer.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Icon, IconButton } from '../ui/icon.tsx';
import { go } from '../ui/route.ts';
import { ConversationItem } from './conversation-item.tsx';
import { hasMore, listed, loadMore, removal, removalFault, undoRemoval } from './session/conversations.ts';

export function ConversationList({ onClose }: { onClose(): void }) {
  const { fault, run } = useAction();
  const attempt = async (work: () => Promise<void>) => {
    if (!(await run(work))) announce(fault.value ?? '');
  };
  const startNew = () => {
    go('chat');
    onClose();
    document.getElementById('draft')?.focus();
  };
  return (
    <nav class="list" aria-label="Conversations">
      <div class="list-head">
        <button type="button" class="button wide" onClick={startNew}>
          <Icon name="plus" />
          New conversation
        </button>
        <span class="list-close">
          <IconButton icon="close" label="Close the list" onClick={onClose} />
        </span>
      </div>
      {(fault.value ?? removalFault.value) && <p class="list-fault">{fault.value ?? removalFault.value}</p>}
      <ul>
        {listed.value.map((row) => (
          <ConversationItem key={row.id} row={row} attempt={attempt} />
        ))}
      </ul>
      {listed.value.length === 0 && <p class="quiet list-empty">What you ask is kept here, at the edge.</p>}
      {hasMore.value && (
        <button type="button" class="button plain wide" onClick={() => attempt(loadMore)}>
          Older ones
        </button>
      )}
      {removal.value && (
        <p class="list-undo apart" role="status">
          <span>Deleted “{removal.value.title}”.</span>
          <SmallButton name="Undo" onClick={undoRemoval} />
        </p>
      )}
    </nav>
  );
}
