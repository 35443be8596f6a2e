import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { ConversationRow } from '../../client/index.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { UndoNote } from '../edge/undo-note.tsx';
import { Form } from '../ui/form.tsx';
import { IconButton, type IconName } from '../ui/icon.tsx';
import { Popover } from '../ui/popover.tsx';
import { conversationId } from '../ui/route.ts';
import { Toolbar } from '../ui/toolbar.tsx';
import { Usd } from '../ui/usd.tsx';
import { getBranchFamilyId } from './session/branches.ts';
import {
  conversationRemovals,
  forkAndShowConversation,
  removeConversationWithUndo,
  renameConversation,
  session,
} from './session/conversations.ts';
import { generateMissingTitle, getConversationTitle } from './session/titles.ts';

/** The actions on a conversation: icon, name and function. Renaming has no function, because it happens in the list itself. */
const CONVERSATION_ACTIONS: readonly (readonly [IconName, string, ((id: string) => Promise<void>)?])[] = [
  ['edit', 'Rename'],
  ['fork', 'Fork', (id) => forkAndShowConversation(id)],
  ['trash', 'Delete', (id) => Promise.resolve(removeConversationWithUndo(id))],
];

interface ConversationItemProps {
  row: ConversationRow;
  /** Runs some work, and shows the error if it fails. */
  runShowingError(work: () => Promise<void>): void;
}

export function ConversationItem({ row, runShowingError: attempt }: ConversationItemProps) {
  const mode = useSignal<'shown' | 'renamed'>('shown');
  const field = useRef<HTMLInputElement>(null);
  const link = useRef<HTMLAnchorElement>(null);
  const family = getBranchFamilyId(row.id);
  const removed = conversationRemovals.pendingRemovals.value.has(family);
  const wasRemoved = useRef(removed);
  const title = getConversationTitle(row.id, row.title);
  useEffect(() => {
    if (mode.value === 'renamed') field.current?.select();
  }, [mode.value]);
  useEffect(() => {
    const element = link.current;
    if (row.title !== null || removed || !element) return;
    // Create the title from the first message only when the item becomes visible: each title takes a request.
    const observer = new IntersectionObserver(([entry]) => {
      if (entry?.isIntersecting) void generateMissingTitle(row.id);
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [row.id, row.title, removed]);
  useEffect(() => {
    // The button that restored the conversation no longer exists, so move the focus to the link.
    if (wasRemoved.current && !removed && document.activeElement === document.body) link.current?.focus();
    wasRemoved.current = removed;
  }, [removed]);
  const saveTitle = () => {
    const next = field.current?.value.trim();
    mode.value = 'shown';
    if (next && next !== row.title) attempt(() => renameConversation(row.id, next));
  };
  if (mode.value === 'renamed') {
    return (
      <li class="item">
        <Form class="" onSubmit={saveTitle}>
          <input
            ref={field}
            aria-label="Title"
            dir="auto"
            defaultValue={title}
            maxLength={1_000}
            onBlur={saveTitle}
            onKeyDown={(event) => {
              if (event.key !== 'Escape') return;
              mode.value = 'shown';
            }}
          />
        </Form>
      </li>
    );
  }
  if (removed) {
    return (
      <li class="item" data-removed>
        <div class="item-text">
          <span class="clipped" dir="auto">
            {title}
          </span>
          <UndoNote removals={conversationRemovals} of={family} title={title} />
        </div>
      </li>
    );
  }
  const current = conversationId.value !== undefined && getBranchFamilyId(conversationId.value) === family;
  return (
    <li class="item" data-current={current}>
      <a
        ref={link}
        class="item-text"
        href={`#/chat/${encodeURIComponent(row.id)}`}
        aria-current={current ? 'page' : undefined}
        title={title}
      >
        <span class="clipped" dir="auto">
          {title}
        </span>
        <span class="item-note" data-waits={row.paused !== null}>
          {renderConversationNote(row)}
        </span>
      </a>
      <div class="item-actions">
        <Popover icon="more" name={`Actions for ${title}`} isMenu>
          <Toolbar label={`Actions for ${title}`}>
            {CONVERSATION_ACTIONS.filter(([icon]) => icon !== 'fork' || hasPlugin('transfer')).map(
              ([icon, word, act]) => (
                <IconButton
                  key={word}
                  icon={icon}
                  word={word}
                  label={`${word} ${title}`}
                  onClick={() => {
                    if (act) attempt(() => act(row.id));
                    else mode.value = 'renamed';
                  }}
                />
              ),
            )}
          </Toolbar>
        </Popover>
      </div>
    </li>
  );
}

function renderConversationNote({ id, state, paused, turns, cost_usd }: ConversationRow): ComponentChildren {
  const current = session.value?.id === id ? session.value : undefined;
  if (current?.liveAnswer.value && current.hasArrived.value) return 'answering…';
  if (state === 'running') {
    // The list may still report a turn as running whose end was seen here. Then show the number of turns, without the cost,
    // which the list does not contain yet.
    const turnCount = current?.isIdle.value ? current.turnCount.value : 0;
    return turnCount === 0 ? 'answering…' : formatTurnCount(turnCount);
  }
  if (paused !== null) return 'waiting for approval';
  if (turns === 0) return 'empty';
  return <Usd isSum before={`${formatTurnCount(turns)} · `} value={cost_usd} />;
}

function formatTurnCount(turns: number): string {
  return `${turns} ${turns === 1 ? 'turn' : 'turns'}`;
}
