import { exactUsd, formatUsd } from './format.ts';

interface UsdProps {
  value: number;
  /** What stands before and behind it as one text with it: of several texts the later ones move when the first gets longer. */
  before?: string;
  after?: string;
}

/** Shows US dollars in cents; the exact sum is in the tooltip, and is what screen readers say. */
export function Usd({ value, before = '', after = '' }: UsdProps) {
  const [shown, exact] = [formatUsd(value), exactUsd(value)];
  if (shown === exact) return <>{before + shown + after}</>;
  return (
    <span class="usd" title={exact}>
      <span aria-hidden="true">{before + shown + after}</span>
      <span class="unseen">{before + exact + after}</span>
    </span>
  );
}
