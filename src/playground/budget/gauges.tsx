import { formatCount, formatMoment, formatUsd } from '../ui/format.ts';
import { Gauge } from './gauge.tsx';
import { reportedQuota } from './report.ts';

const WINDOWS = [
  ['day', 'Today'],
  ['week', 'This week'],
  ['month', 'This month'],
] as const;
const BUCKETS = [
  ['requests', 'Requests a minute'],
  ['input_tokens', 'Input tokens a minute'],
  ['output_tokens', 'Output tokens a minute'],
  ['count_requests', 'Counts a minute'],
] as const;

/** Shows a gauge for each window of the budget and each rate limit. */
export function Gauges() {
  const stands = reportedQuota.value;
  const buckets = BUCKETS.flatMap(([key, title]) => {
    const meter = stands?.[key];
    return meter ? [{ key, title, meter }] : [];
  });
  return (
    <section id="quota" aria-label="Where the account stands" class="stack">
      <ul class="gauges">
        {WINDOWS.map(([key, title]) => {
          const window = stands?.[key];
          const {
            limit_usd: limit,
            settled_usd: settled,
            held_usd: held,
          } = window ?? {
            limit_usd: null,
            settled_usd: 0,
            held_usd: 0,
          };
          return (
            <Gauge
              key={key}
              title={title}
              value={formatUsd(settled)}
              of={limit === null ? 'no limit' : `of ${formatUsd(limit)}`}
              full={limit === null ? undefined : share(settled, limit)}
              held={limit === null ? 0 : share(held, limit)}
              note={`${held > 0 ? `${formatUsd(held)} held · ` : ''}${window ? `resets ${formatMoment(window.resets_at)}` : ''}`}
            />
          );
        })}
      </ul>
      {buckets.length > 0 && (
        <ul class="gauges small">
          {buckets.map(({ key, title, meter: { limit, remaining } }) => (
            <Gauge
              key={key}
              title={title}
              value={formatCount(Math.floor(limit - remaining))}
              of={`of ${formatCount(limit)}`}
              full={share(limit - remaining, limit)}
              held={0}
              note="refills continuously"
            />
          ))}
        </ul>
      )}
      {stands && stands.running_requests > 0 && (
        <p class="quiet">
          {stands.running_requests} {stands.running_requests === 1 ? 'request runs' : 'requests run'} now.
        </p>
      )}
    </section>
  );
}

function share(part: number, whole: number): number {
  if (whole === 0) return part > 0 ? 1 : 0;
  return Math.min(1, Math.max(0, part / whole));
}
