import { Icon, type IconName } from './icon.tsx';

interface IconButtonProps {
  icon: IconName;
  /** What the button does: read by screen readers, and shown as its tooltip. */
  label: string;
  onClick(): void;
  disabled?: boolean;
}

export function IconButton({ icon, label, onClick, disabled = false }: IconButtonProps) {
  return (
    <button type="button" class="icon-button" aria-label={label} title={label} disabled={disabled} onClick={onClick}>
      <Icon name={icon} />
    </button>
  );
}
