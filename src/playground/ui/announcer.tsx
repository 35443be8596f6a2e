import { signal } from '@preact/signals';

const said = signal('');

/** Says something to who listens in place of looking. */
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
