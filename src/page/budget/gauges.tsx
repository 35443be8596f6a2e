import { formatCount } from '../ui/format.ts';
import { reportedQuota } from './figures/report.ts';
import { Gauge, partOf, SpendGauge } from './gauge.tsx';

const WINDOWS = [
  ['day', 'Today'],
  ['week', 'This week'],
  ['month', 'This month'],
] as const;
const BUCKETS = [
  ['requests', 'Requests per minute'],
  ['input_tokens', 'Input tokens per minute'],
  ['output_tokens', 'Output tokens per minute'],
  ['count_requests', 'Token counts per minute'],
] as const;

/** Shows a gauge for each window of the budget and each rate limit. */
export function Gauges() {
  const stands = reportedQuota.value;
  const buckets = BUCKETS.flatMap(([key, title]) => {
    const meter = stands?.[key];
    return meter ? [{ key, title, meter }] : [];
  });
  return (
    <section id="quota" aria-label="Quota" class="stack">
      <ul class="gauges">
        {WINDOWS.map(([key, title]) => {
          const window = stands && { ...stands[key], spent_usd: stands[key].settled_usd };
          return <SpendGauge key={key} title={title} window={window} />;
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
              full={partOf(limit - remaining, limit)}
              held={0}
              note="refills continuously"
            />
          ))}
        </ul>
      )}
      {stands && stands.running_requests > 0 && (
        <p class="quiet">
          {stands.running_requests} {stands.running_requests === 1 ? 'request is' : 'requests are'} running.
        </p>
      )}
    </section>
  );
}
