import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { useAction } from '../edge/async-action.ts';
import { announce } from '../ui/announcer.tsx';
import { Fault } from '../ui/fault.tsx';
import { formatDayOf } from '../ui/format.ts';
import { Icon, IconButton } from '../ui/icon.tsx';
import { go } from '../ui/route.ts';
import { ConversationItem } from './conversation-item.tsx';
import { hasMore, listed, loadAll, loadMore, removals } from './session/conversations.ts';
import { importFromFile } from './session/history-file.ts';
import { titleFor } from './session/titles.ts';

export function ConversationList({ onClose }: { onClose(): void }) {
  const wanted = useSignal('');
  const note = useSignal<string | undefined>(undefined);
  const { fault, run } = useAction();
  const attempt = async (work: () => Promise<void>) => {
    if (!(await run(work))) announce(fault.value ?? '');
  };
  const words = wanted.value.toLowerCase().split(/\s+/);
  const rows = listed.value.filter(({ id, title }) => {
    const shown = titleFor(id, title).toLowerCase();
    return words.every((word) => shown.includes(word));
  });
  const days = [...Map.groupBy(rows, ({ updated_at }) => formatDayOf(updated_at))];
  const complaint = fault.value ?? removals.fault.value;
  const startNew = () => {
    go('chat');
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
          onClick={startNew}
        >
          <Icon name="plus" />
          New conversation
        </button>
        <ImportButton attempt={attempt} onImport={(said) => (note.value = said)} />
        <span class="list-close">
          <IconButton icon="close" label="Close the list" onClick={onClose} />
        </span>
      </div>
      {complaint && <Fault text={complaint} />}
      {note.value && <p class="quiet">{note.value}</p>}
      <div class="list-search">
        <Icon name="search" />
        <input
          type="search"
          aria-label="Search conversations"
          placeholder="Search"
          title="Ctrl or Cmd, K finds views, too"
          value={wanted.value}
          onInput={(event) => {
            wanted.value = event.currentTarget.value;
            if (hasMore.value) void attempt(loadAll);
          }}
        />
      </div>
      {days.map(([day, group]) => (
        <section key={day} aria-label={day}>
          <h2>{day}</h2>
          <ul>
            {group.map((row) => (
              <ConversationItem key={row.id} row={row} attempt={attempt} />
            ))}
          </ul>
        </section>
      ))}
      {rows.length === 0 && (
        <p class="quiet list-empty">
          {wanted.value === ''
            ? 'No conversations yet. They are stored at the edge and listed here.'
            : 'No title matches.'}
        </p>
      )}
      {hasMore.value && (
        <button type="button" class="button plain wide" onClick={() => attempt(() => loadMore())}>
          Show older
        </button>
      )}
    </nav>
  );
}

interface ImportButtonProps {
  /** Does something, and shows the error if it fails. */
  attempt(work: () => Promise<void>): void;
  /** Takes what is to be said after an import; undefined for nothing. */
  onImport(note: string | undefined): void;
}

/** Lets the user choose a file, and makes a new conversation of it. */
function ImportButton({ attempt, onImport }: ImportButtonProps) {
  const picker = useRef<HTMLInputElement>(null);
  const take = (file: File) =>
    attempt(async () => {
      onImport(undefined);
      const { id, note } = await importFromFile(file);
      go('chat', id);
      onImport(note);
      announce(note ?? 'The conversation is imported.');
    });
  return (
    <>
      <IconButton icon="import" label="Import a conversation" onClick={() => picker.current?.click()} />
      <input
        ref={picker}
        type="file"
        accept=".jsonl,.ndjson,.json"
        hidden
        aria-label="File of a conversation"
        onChange={({ currentTarget }) => {
          const [file] = currentTarget.files ?? [];
          if (file) take(file);
          // The same file can be chosen again, once it was corrected.
          currentTarget.value = '';
        }}
      />
    </>
  );
}
