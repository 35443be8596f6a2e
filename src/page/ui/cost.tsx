import { formatExactUsd } from './format.ts';

/** The decimals of the cost of a request. */
const REQUEST_COST_DECIMALS = 6;
/** The decimals of costs whose sum is a dollar or more. */
const LARGE_COST_DECIMALS = 2;

interface CostProps {
  value: number;
  /** The number of decimals, the same for all costs of a column. Default: that of requests. */
  decimals?: number;
}

/** Shows a cost in US dollars in a column of costs. The exact amount is in the tooltip, and is what screen readers say. */
export function Cost({ value, decimals = REQUEST_COST_DECIMALS }: CostProps) {
  const [shown, exact] = [formatCost(value, decimals), formatExactUsd(value)];
  if (shown === exact) return <>{shown}</>;
  return (
    <span title={exact}>
      <span aria-hidden="true">{shown}</span>
      <span class="unseen">{exact}</span>
    </span>
  );
}

/** @returns how many decimals the costs of a report have */
export function chooseCostDecimals(total: { cost_usd: number }): number {
  return total.cost_usd >= 1 ? LARGE_COST_DECIMALS : REQUEST_COST_DECIMALS;
}

function formatCost(value: number, decimals: number): string {
  const size = Math.abs(value);
  const least = 10 ** -decimals;
  const [sign, shown] = size > 0 && size < least ? ['<', least] : ['', size];
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return `${value < 0 ? '−' : ''}${sign}$${shown.toLocaleString('en', digits)}`;
}
