interface SmallButtonProps {
  name: string;
  /** What it does, where its name says that only beside others. */
  label?: string;
  onClick(): void;
  disabled?: boolean;
  /** `first` for what most people want. */
  kind?: 'plain' | 'first';
}

export function SmallButton({ name, label, onClick, disabled = false, kind = 'plain' }: SmallButtonProps) {
  return (
    <button type="button" class={`button small ${kind}`} aria-label={label} disabled={disabled} onClick={onClick}>
      {name}
    </button>
  );
}
