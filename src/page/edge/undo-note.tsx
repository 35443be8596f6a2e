import { useEffect, useRef } from 'preact/hooks';
import { announceToScreenReader } from '../ui/announcer.tsx';
import type { UndoableRemovals } from './removals.ts';

/** Shows that something was deleted, with a button to restore it. */
export function UndoNote({
  removals,
  of: removalKey,
  title,
}: {
  removals: UndoableRemovals;
  of: string;
  title: string;
}) {
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    announceToScreenReader(`Deleted “${title}”. You can undo this.`);
    // The pressed button no longer exists. If it was pressed by the keyboard, move the focus to this button.
    if (removals.removedByKeyboard.has(removalKey)) button.current?.focus();
  }, [removals, removalKey, title]);
  return (
    <span class="quiet">
      {'Deleted. '}
      <button
        ref={button}
        type="button"
        class="link"
        aria-label={`Undo deleting ${title}`}
        onFocus={() => removals.pauseDeletion(removalKey)}
        onBlur={() => removals.scheduleDeletion(removalKey)}
        onClick={() => {
          removals.undoRemoval(removalKey);
          announceToScreenReader(`“${title}” was restored.`);
        }}
      >
        Undo
      </button>
    </span>
  );
}
