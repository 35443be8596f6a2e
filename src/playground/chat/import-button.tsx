import { useRef } from 'preact/hooks';
import { announce } from '../ui/announcer.tsx';
import { IconButton } from '../ui/icon.tsx';
import { go } from '../ui/route.ts';
import { importFromFile } from './session/history-file.ts';

interface ImportButtonProps {
  /** Does something, and shows the error if it fails. */
  attempt(work: () => Promise<void>): void;
  /** Takes what is to be said after an import; undefined for nothing. */
  onImport(note: string | undefined): void;
}

/** Lets the user choose a file, and makes a new conversation of it. */
export function ImportButton({ attempt, onImport }: ImportButtonProps) {
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
