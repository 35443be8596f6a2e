interface SmallButtonProps {
  name: string;
  onClick(): void;
  disabled?: boolean;
  /** `first` for what most people want. */
  kind?: 'plain' | 'first';
}

export function SmallButton({ name, onClick, disabled = false, kind = 'plain' }: SmallButtonProps) {
  return (
    <button type="button" class={`button small ${kind}`} disabled={disabled} onClick={onClick}>
      {name}
    </button>
  );
}
