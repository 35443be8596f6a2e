import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { ConversationRow } from '../../client/index.ts';
import { Form } from '../ui/form.tsx';
import { formatUsd } from '../ui/format.ts';
import { IconButton } from '../ui/icon.tsx';
import { conversationId } from '../ui/route.ts';
import { Toolbar } from '../ui/toolbar.tsx';
import { familyOf } from './session/branches.ts';
import { fork, remove, rename, session } from './session/conversations.ts';
import { makeTitle, titleFor } from './session/titles.ts';

interface ConversationItemProps {
  row: ConversationRow;
  /** Does something, and shows the error if it fails. */
  attempt(work: () => Promise<void>): void;
}

export function ConversationItem({ row, attempt }: ConversationItemProps) {
  const mode = useSignal<'shown' | 'renamed'>('shown');
  const field = useRef<HTMLInputElement>(null);
  const link = useRef<HTMLAnchorElement>(null);
  const title = titleFor(row.id, row.title);
  useEffect(() => {
    if (mode.value === 'renamed') field.current?.select();
  }, [mode.value]);
  useEffect(() => {
    const element = link.current;
    if (row.title !== null || !element) return;
    // Its first message is read only if somebody sees it here.
    const observer = new IntersectionObserver(([entry]) => {
      if (entry?.isIntersecting) void makeTitle(row.id);
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [row.id, row.title]);
  const save = () => {
    const next = field.current?.value.trim();
    mode.value = 'shown';
    if (next && next !== row.title) attempt(() => rename(row.id, next));
  };
  if (mode.value === 'renamed') {
    return (
      <li class="item">
        <Form class="" onSubmit={save}>
          <input
            ref={field}
            aria-label="Title"
            defaultValue={title}
            maxLength={1_000}
            onBlur={save}
            onKeyDown={(event) => {
              if (event.key === 'Escape') mode.value = 'shown';
            }}
          />
        </Form>
      </li>
    );
  }
  const current = conversationId.value !== undefined && familyOf(conversationId.value) === familyOf(row.id);
  return (
    <li class="item" data-current={current}>
      <a ref={link} href={`#/chat/${encodeURIComponent(row.id)}`} aria-current={current ? 'page' : undefined}>
        <span class="clipped">{title}</span>
        <span class="item-note" data-waits={row.paused !== null}>
          {noteOf(row)}
        </span>
      </a>
      <div class="item-actions">
        <Toolbar label={`Actions for ${title}`}>
          <IconButton icon="edit" label={`Rename ${title}`} onClick={() => (mode.value = 'renamed')} />
          <IconButton icon="fork" label={`Fork ${title}`} onClick={() => attempt(() => fork(row.id))} />
          <IconButton icon="trash" label={`Delete ${title}`} onClick={() => remove(row.id, title)} />
        </Toolbar>
      </div>
    </li>
  );
}

function noteOf({ id, state, paused, turns, cost_usd }: ConversationRow): string {
  if (state === 'running' || (session.value?.id === id && session.value.live.value)) return 'answering…';
  if (paused !== null) return 'waiting for approval';
  if (turns === 0) return 'empty';
  return `${turns} ${turns === 1 ? 'turn' : 'turns'} · ${formatUsd(cost_usd)}`;
}
