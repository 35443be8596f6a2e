import { useEffect, useRef } from 'preact/hooks';
import { announce } from '../ui/announcer.tsx';
import type { Removals } from './removals.ts';

/** Says that something is deleted, and brings it back. */
export function UndoNote({ removals, of: removalKey, title }: { removals: Removals; of: string; title: string }) {
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    announce(`Deleted “${title}”. This can be undone.`);
    // The button that was pressed is not there any more.
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
        onFocus={() => removals.cancelTimer(removalKey)}
        onBlur={() => removals.scheduleFinish(removalKey)}
        onClick={() => {
          removals.undo(removalKey);
          announce(`“${title}” is back.`);
        }}
      >
        Undo
      </button>
    </span>
  );
}
