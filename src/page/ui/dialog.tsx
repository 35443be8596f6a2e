import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';
import { IconButton } from './icon.tsx';

/** Shows a modal dialog. Escape closes it. */
export function Dialog({ title, onClose, children }: { title: string; onClose(): void; children: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    ref.current?.showModal();
    // `showModal` focuses the close button, so focus the first field instead.
    ref.current?.querySelector<HTMLElement>('form :is(input, textarea, select)')?.focus();
  }, []);
  return (
    <dialog ref={ref} class="panel dialog" aria-labelledby={heading} onClose={onClose}>
      <header class="apart">
        <h2 id={heading}>{title}</h2>
        <IconButton icon="close" label="Close" onClick={() => ref.current?.close()} />
      </header>
      {children}
    </dialog>
  );
}
