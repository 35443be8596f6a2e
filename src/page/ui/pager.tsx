import type { Signal } from '@preact/signals';
import { SmallButton } from './button.tsx';
import { formatCount } from './format.ts';

interface PagerProps {
  /** The index of the first row that is shown. */
  first: Signal<number>;
  count: number;
  /** How many are shown at a time. */
  size: number;
}

/** Goes from page to page of a long table, and says which rows are shown. */
export function Pager({ first, count, size }: PagerProps) {
  const start = Math.min(first.value, Math.max(0, Math.floor((count - 1) / size) * size));
  if (start !== first.value) first.value = start;
  return (
    <nav class="row" aria-label="Pages">
      <SmallButton name="Previous" disabled={start === 0} onClick={() => (first.value = start - size)} />
      <SmallButton name="Next" disabled={start + size >= count} onClick={() => (first.value = start + size)} />
      <span class="quiet" role="status">
        {count === 0
          ? 'Nothing to show'
          : `${formatCount(start + 1)} to ${formatCount(Math.min(count, start + size))} of ${formatCount(count)}`}
      </span>
    </nav>
  );
}
