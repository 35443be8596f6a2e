/** Draws icons with lines of one width on a grid of 20. */
const PATHS = {
  plus: 'M10 4v12M4 10h12',
  more: 'M4 10h.01M10 10h.01M16 10h.01',
  menu: 'M3 6h14M3 10h14M3 14h14',
  send: 'M10 16V4M5 9l5-5 5 5',
  stop: 'M5 5h10v10H5z',
  copy: 'M7 7V3h10v10h-4M3 7h10v10H3z',
  check: 'M4 11l4 4 8-10',
  edit: 'M4 16l1-4 8-8 3 3-8 8z',
  again: 'M16 10a6 6 0 1 1-2-4.5M16 3v3.500h-3.500',
  fork: 'M6 3v14M6 12c0-4 8-2 8-7M14 5V3M14 3l-2 2M14 3l2 2',
  trash: 'M4 6h12M8 6V4h4v2M6 6l1 11h6l1-11',
  sun: 'M10 6.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7M10 2v1.500M10 16.500V18M2 10h1.500M16.500 10H18M4.300 4.300l1.100 1.100M14.600 14.600l1.100 1.100M4.300 15.700l1.100-1.100M14.600 5.400l1.100-1.100',
  moon: 'M16 12A7 7 0 0 1 8 4a6.500 6.500 0 1 0 8 8z',
  system: 'M3 4h14v9H3zM7 17h6M10 13v4',
  attach:
    'M15.500 9.500l-5.500 5.500a3.500 3.500 0 0 1-5-5l6-6a2.300 2.300 0 0 1 3.300 3.300l-6 6a1.100 1.100 0 0 1-1.600-1.600l5-5',
  file: 'M5 3h7l3 3v11H5zM12 3v3h3',
  options: 'M3 6h8M15 6h2M3 14h2M9 14h8M11 4v4M7 12v4',
  search: 'M9 4a5 5 0 1 0 0 10 5 5 0 0 0 0-10M13 13l4 4',
  close: 'M5 5l10 10M15 5L5 15',
  person: 'M10 3.500a3 3 0 1 0 0 6 3 3 0 0 0 0-6M4 17c0-4 3-5 6-5s6 1 6 5',
  eye: 'M2 10c4-7 12-7 16 0-4 7-12 7-16 0zM10 7.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5',
  down: 'M10 4v12M5 11l5 5 5-5',
  previous: 'M12 5l-5 5 5 5',
  next: 'M8 5l5 5-5 5',
  tool: 'M12 4a4 4 0 0 0-3 6l-5 5 1.500 1.500 5-5a4 4 0 0 0 5-5l-2 2-2-.5-.5-2 2-2z',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
      <path d={PATHS[name]} fill={name === 'stop' ? 'currentColor' : undefined} />
    </svg>
  );
}

interface IconButtonProps {
  icon: IconName;
  /** What the button does: read by screen readers, and shown as its tooltip. */
  label: string;
  /** The action as one word, which is shown beside the icon if there is space. */
  word?: string;
  onClick(): void;
  disabled?: boolean;
}

export function IconButton({ icon, label, word, onClick, disabled = false }: IconButtonProps) {
  return (
    <button type="button" class="icon-button" aria-label={label} title={label} disabled={disabled} onClick={onClick}>
      <Icon name={icon} />
      {word && <span class="word">{word}</span>}
    </button>
  );
}
