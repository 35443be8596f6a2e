import { formatExactUsd, formatUnitPrice, formatUsd, UNIT_PRICE_DECIMALS } from './format.ts';

interface UsdProps {
  value: number;
  /** Whether the amount is a sum. A sum is shown in whole cents, and a very small one only as “little”. */
  isSum?: boolean;
  /** Of a sum: the limit that it is a part of. */
  of?: number | undefined;
  /**
   * The text before and after the amount. It is part of the same text node, because separate ones would move when an earlier
   * one becomes longer.
   */
  before?: string;
  after?: string;
}

/** Shows US dollars, shortly; the exact amount is in the tooltip, and is what screen readers say. */
export function Usd({ value, isSum = false, of, before = '', after = '' }: UsdProps) {
  const [shown, exact] = [isSum ? formatUsd(value, of) : formatUnitPrice(value), formatExactUsd(value)];
  const missingZeros = isSum ? '' : '0'.repeat(Math.max(0, UNIT_PRICE_DECIMALS - countDecimals(shown)));
  if (shown === exact && missingZeros === '') return <>{before + shown + after}</>;
  return (
    <span class="usd" title={exact} data-missing-zeros={missingZeros}>
      {shown === exact ? (
        before + shown + after
      ) : (
        <>
          <span aria-hidden="true">{before + shown + after}</span>
          <span class="unseen">{before + exact + after}</span>
        </>
      )}
    </span>
  );
}

function countDecimals(text: string): number {
  return text.length - 1 - text.indexOf('.');
}
