import type { Signal } from '@preact/signals';

/** Shows a checkbox that sets a signal. `title` explains it when the pointer rests on it. */
export function CheckboxChip({ name, value, title }: { name: string; value: Signal<boolean>; title?: string }) {
  return (
    <label class="chip" title={title}>
      <input
        type="checkbox"
        checked={value.value}
        onChange={(event) => {
          value.value = event.currentTarget.checked;
        }}
      />
      {name}
    </label>
  );
}
