import type { ComponentChildren } from 'preact';
import { SmallButton } from './button.tsx';

interface EmptyStateProps {
  /** What the button does. */
  example: string;
  busy?: boolean;
  onTry(): void;
  /** The purpose of this place. */
  children: ComponentChildren;
}

/** Fills an empty place: explains its purpose, and offers a working example. */
export function EmptyState({ example, busy = false, onTry, children }: EmptyStateProps) {
  return (
    <div class="empty">
      <p class="quiet">{children}</p>
      <SmallButton kind="first" name={example} disabled={busy} onClick={onTry} />
    </div>
  );
}
