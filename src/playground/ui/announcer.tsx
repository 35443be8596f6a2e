import { signal } from '@preact/signals';

const said = signal('');

/** Announces a text to screen readers. */
export function announce(text: string): void {
  said.value = text;
}

export function Announcer() {
  return (
    <div class="unseen" role="status" aria-live="polite">
      {said}
    </div>
  );
}
