import { useSignal } from '@preact/signals';
import { useAsyncAction } from '../edge/async-action.ts';
import { announceToScreenReader } from '../ui/announcer.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { formatDayHeading } from '../ui/format.ts';
import { Icon, IconButton } from '../ui/icon.tsx';
import { navigateToSection } from '../ui/route.ts';
import { ConversationItem } from './conversation-item.tsx';
import {
  conversationRemovals,
  hasMoreConversations,
  listedConversations,
  loadAllConversations,
  loadMoreConversations,
} from './session/conversations.ts';
import { getConversationTitle } from './session/titles.ts';

export function ConversationList({ onClose }: { onClose(): void }) {
  const wanted = useSignal('');
  const { fault, run } = useAsyncAction();
  const runShowingError = async (work: () => Promise<void>) => {
    if (!(await run(work))) announceToScreenReader(fault.value ?? '');
  };
  const words = wanted.value.toLowerCase().split(/\s+/);
  const rows = listedConversations.value.filter(({ id, title }) => {
    const shown = getConversationTitle(id, title).toLowerCase();
    return words.every((word) => shown.includes(word));
  });
  const days = [...Map.groupBy(rows, ({ updated_at }) => formatDayHeading(updated_at))];
  const complaint = fault.value ?? conversationRemovals.fault.value;
  const startNewConversation = () => {
    navigateToSection('chat');
    onClose();
    document.getElementById('draft')?.focus();
  };
  return (
    <nav class="list" aria-label="Conversations">
      <div class="list-head">
        <button
          type="button"
          class="button plain wide"
          title="Ctrl or Cmd, Shift, O"
          aria-keyshortcuts="Control+Shift+O Meta+Shift+O"
          onClick={startNewConversation}
        >
          <Icon name="plus" />
          New conversation
        </button>
        <span class="list-close">
          <IconButton icon="close" label="Close the list" onClick={onClose} />
        </span>
      </div>
      {complaint && <FaultMessage text={complaint} />}
      <div class="list-search">
        <Icon name="search" />
        <input
          type="search"
          aria-label="Search conversations"
          placeholder="Search"
          value={wanted.value}
          onInput={(event) => {
            wanted.value = event.currentTarget.value;
            if (hasMoreConversations.value) void runShowingError(loadAllConversations);
          }}
        />
      </div>
      {days.map(([day, group]) => (
        <section key={day} aria-label={day}>
          <h2>{day}</h2>
          <ul>
            {group.map((row) => (
              <ConversationItem key={row.id} row={row} runShowingError={runShowingError} />
            ))}
          </ul>
        </section>
      ))}
      {rows.length === 0 && (
        <p class="quiet list-empty">
          {wanted.value === ''
            ? 'No conversations yet. Your conversations are stored in Sluice and listed here.'
            : 'No title matches.'}
        </p>
      )}
      {hasMoreConversations.value && (
        <button type="button" class="button plain wide" onClick={() => runShowingError(() => loadMoreConversations())}>
          Load older
        </button>
      )}
    </nav>
  );
}
