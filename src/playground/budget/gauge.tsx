interface GaugeProps {
  title: string;
  value: string;
  of: string;
  /** The used part of the limit, from 0 to 1; undefined without a limit. */
  full: number | undefined;
  /** The held part of the limit, from 0 to 1. */
  held: number;
  note: string;
}

const NEARLY = 0.9;

/** Shows a bar for a limit. The text beside it says the same. */
export function Gauge({ title, value, of, full, held, note }: GaugeProps) {
  return (
    <li class="gauge" data-nearly={full !== undefined && full + held >= NEARLY}>
      <h2>{title}</h2>
      <p>
        <strong>{value}</strong> <span class="quiet">{of}</span>
      </p>
      <div class="bar" aria-hidden="true" data-limited={full !== undefined}>
        <span class="settled" style={{ width: `${(full ?? 0) * 100}%` }} />
        <span class="held" style={{ width: `${Math.min(held, 1 - (full ?? 0)) * 100}%` }} />
      </div>
      <p class="quiet gauge-note">{note}</p>
    </li>
  );
}
