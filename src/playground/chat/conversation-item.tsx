import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { ConversationRow } from '../../client/index.ts';
import { Form } from '../ui/form.tsx';
import { formatUsd } from '../ui/format.ts';
import { IconButton } from '../ui/icon.tsx';
import { conversationId } from '../ui/route.ts';
import { familyOf } from './session/branches.ts';
import { fork, remove, rename } from './session/conversations.ts';

interface ConversationItemProps {
  row: ConversationRow;
  /** Does something, and shows the error if it fails. */
  attempt(work: () => Promise<void>): void;
}

export function ConversationItem({ row, attempt }: ConversationItemProps) {
  const mode = useSignal<'shown' | 'renamed'>('shown');
  const field = useRef<HTMLInputElement>(null);
  const title = row.title ?? 'Untitled';
  useEffect(() => {
    if (mode.value === 'renamed') field.current?.select();
  }, [mode.value]);
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
      <a href={`#/chat/${encodeURIComponent(row.id)}`} aria-current={current ? 'page' : undefined}>
        <span class="clipped">{title}</span>
        <span class="item-note">
          {row.state === 'running'
            ? 'answering…'
            : `${row.turns} ${row.turns === 1 ? 'turn' : 'turns'} · ${formatUsd(row.cost_usd)}`}
        </span>
      </a>
      <span class="item-actions">
        <IconButton icon="edit" label={`Rename ${title}`} onClick={() => (mode.value = 'renamed')} />
        <IconButton icon="fork" label={`Fork ${title}`} onClick={() => attempt(() => fork(row.id))} />
        <IconButton icon="trash" label={`Delete ${title}`} onClick={() => remove(row.id, title)} />
      </span>
    </li>
  );
}
