interface FilterChipsProps<Key extends string> {
  /** What is chosen, such as `Outcome`. */
  label: string;
  chosen: Key;
  options: readonly (readonly [key: Key, name: string])[];
  /** A value that cannot be chosen here. */
  disabled?: Key;
  onChoose(key: Key): void;
}

/** Shows the values of a filter side by side, of which one is chosen. */
export function FilterChips<Key extends string>({ label, chosen, options, disabled, onChoose }: FilterChipsProps<Key>) {
  return (
    <fieldset class="filter-chips" aria-label={label}>
      {options.map(([key, name]) => (
        <button
          key={key}
          type="button"
          class="filter-chip"
          aria-pressed={key === chosen}
          disabled={key === disabled}
          onClick={() => onChoose(key)}
        >
          {name}
        </button>
      ))}
    </fieldset>
  );
}

interface RemovableChipProps {
  name: string;
  /** What the button does, such as `Show all tokens`. */
  label: string;
  onRemove(): void;
}

/** Shows a filter that is in effect, and removes it. */
export function RemovableChip({ name, label, onRemove }: RemovableChipProps) {
  return (
    <button type="button" class="filter-chip" aria-label={label} title={label} onClick={onRemove}>
      <span class="clipped">{name}</span> <span aria-hidden="true">×</span>
    </button>
  );
}
