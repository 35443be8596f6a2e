import type { ComponentChildren } from 'preact';
import { SmallButton } from './button.tsx';

interface EmptyStateProps {
  /** What the button does. */
  example: string;
  busy?: boolean;
  onTry(): void;
  /** What this place is for. */
  children: ComponentChildren;
}

/** Fills a place where nothing is yet: says what it is for, and offers an example that works. */
export function EmptyState({ example, busy = false, onTry, children }: EmptyStateProps) {
  return (
    <div class="empty">
      <p class="quiet">{children}</p>
      <SmallButton kind="first" name={example} disabled={busy} onClick={onTry} />
    </div>
  );
}
