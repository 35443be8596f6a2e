import type { ComponentChildren } from 'preact';

/** Shows an error in the words of the edge. */
export function Fault({ text, children }: { text: string; children?: ComponentChildren }) {
  return (
    <div class="fault" role="alert">
      <p>{text}</p>
      {children}
    </div>
  );
}
