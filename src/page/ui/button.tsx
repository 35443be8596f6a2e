interface SmallButtonProps {
  name: string;
  /** The action, if the name is clear only beside other buttons. */
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
