interface GaugeProps {
  title: string;
  value: string;
  of: string;
  /** Of the limit, from 0 to 1; undefined where there is none. */
  full: number | undefined;
  /** Of the limit: set aside for what runs. */
  held: number;
  note: string;
}

const NEARLY = 0.9;

/** A bar that says by itself what its text says, for who looks. */
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
