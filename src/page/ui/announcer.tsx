import { signal } from '@preact/signals';

const announcement = signal('');

/** Announces a text to screen readers: of an error the sentence, without its details. */
export function announceToScreenReader(text: string): void {
  announcement.value = text.split('\n', 1)[0] ?? '';
}

export function Announcer() {
  return (
    <div class="unseen" role="status" aria-live="polite">
      {announcement}
    </div>
  );
}
