import type { ComponentChildren } from 'preact';

/** What went wrong, in the words of who knows, and what can be done. */
export function Fault({ text, children }: { text: string; children?: ComponentChildren }) {
  return (
    <div class="fault" role="alert">
      <p>{text}</p>
      {children}
    </div>
  );
}
