import type { ComponentChildren } from 'preact';
import { formatExactUsd, formatResetTime } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { NEARLY_USED_SHARE } from './figures/limit-names.ts';

interface GaugeProps {
  title: ComponentChildren;
  value: ComponentChildren;
  limitText: ComponentChildren;
  /** The used part of the limit, from 0 to 1; undefined without a limit. */
  usedShare: number | undefined;
  /** The held part of the limit, from 0 to 1. */
  heldShare: number;
  note: ComponentChildren;
  /** Whether it rejects requests. Default: it does not. */
  refuses?: boolean;
}

interface SpendGaugeProps {
  title: string;
  /** Undefined where nothing is known yet. */
  spendWindow: { limit_usd: number | null; spent_usd: number; held_usd: number; resets_at: string } | undefined;
  /** The smallest of the limits beside it, in US dollars. */
  smallestUsd: number | undefined;
}

/** @returns the smallest limit in US dollars that is more than 0. All sums beside each other have the decimals that it needs */
export function findSmallestLimit(limits: readonly (number | null | undefined)[]): number | undefined {
  const positive = limits.filter((limit) => limit != null && limit > 0) as number[];
  return positive.length === 0 ? undefined : Math.min(...positive);
}

/** Shows a gauge for a window of a budget. Money is US dollars. */
export function SpendGauge({ title, spendWindow: window, smallestUsd }: SpendGaugeProps) {
  // Unknown spending is shown as "–", not as zero.
  if (!window) return <Gauge title={title} value="–" limitText="" usedShare={undefined} heldShare={0} note="" />;
  const { limit_usd: limit, spent_usd: spent, held_usd: held, resets_at } = window;
  const resets = `resets ${formatResetTime(resets_at)}`;
  return (
    <Gauge
      title={title}
      value={<Usd isSum of={smallestUsd} value={spent} />}
      limitText={limit === null ? 'no limit' : `of ${formatExactUsd(limit)}`}
      usedShare={limit === null ? undefined : computeClampedShare(spent, limit)}
      heldShare={limit === null ? 0 : computeClampedShare(held, limit)}
      note={held > 0 ? <Usd isSum of={smallestUsd} value={held} after={` held for requests · ${resets}`} /> : resets}
    />
  );
}

/** @returns which part of a limit a figure is, from 0 to 1. */
export function computeClampedShare(figure: number, limit: number): number {
  if (limit === 0) return figure > 0 ? 1 : 0;
  return Math.min(1, Math.max(0, figure / limit));
}

/** Shows a bar for a limit; the text beside it contains the same. Without a limit there is nothing to measure, and no bar. */
export function Gauge({
  title,
  value,
  limitText: of,
  usedShare: full,
  heldShare: held,
  note,
  refuses = false,
}: GaugeProps) {
  const isNearly = full !== undefined && full + held >= NEARLY_USED_SHARE;
  return (
    <li class="panel gauge" data-look={refuses ? 'refused' : isNearly ? 'nearly' : undefined}>
      <h2 class="quiet">{title}</h2>
      <p>
        <strong>{value}</strong>
        {full !== undefined && <span class="quiet"> {of}</span>}
      </p>
      {full === undefined ? (
        // This line has the height of the bar that replaces it, so that nothing moves when the limit is loaded.
        <p class="quiet no-limit">{of}</p>
      ) : (
        <div class="bar" aria-hidden="true">
          <span class="settled" style={{ width: `${full * 100}%` }} />
          <span class="held" style={{ width: `${Math.min(held, 1 - full) * 100}%` }} />
        </div>
      )}
      <p class="quiet gauge-note">{note}</p>
    </li>
  );
}
