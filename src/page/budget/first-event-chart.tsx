import type { OverviewResponse } from '../../edge/answers.ts';
import { formatDay, formatMilliseconds } from '../ui/format.ts';
import { computeAxisCeiling } from './figures/axis.ts';
import { estimateFirstEventMs } from './figures/first-event.ts';
import type { DaySpend } from './figures/report.ts';

/** Each figure of a day: its name, the share of streams that were at least as fast, and its colour. */
const FIGURES = [
  { name: 'Median', share: 0.5, color: 'var(--series-1)' },
  { name: '95th percentile', share: 0.95, color: 'var(--series-2)' },
] as const;
/** The lowest bound of the histogram. Milliseconds. */
const LOWEST_BOUND_MS = 250;
/** The highest bound of the histogram, which is the end of the axis for longer times. Milliseconds. */
const HIGHEST_BOUND_MS = 30_000;

interface FirstEventChartProps {
  days: readonly DaySpend[];
  /** The deployed versions, the oldest first. */
  versions: NonNullable<OverviewResponse['versions']>;
}

/** Shows how soon streams sent their first event on each day, and on which days the deployed version changed. */
export function FirstEventChart({ days, versions }: FirstEventChartProps) {
  const rows = days.map(({ day, speed }) => ({
    day,
    times: FIGURES.map(({ share }) => speed && estimateFirstEventMs(speed, share)),
    // Since when the first version has run is unknown, so that it is no change.
    changes: versions.slice(1).filter(({ since }) => since.startsWith(day)),
  }));
  const most = Math.max(0, ...rows.flatMap(({ times }) => times.map((ms = 0) => Math.min(ms, HIGHEST_BOUND_MS))));
  if (most === 0) return null;
  const top = computeAxisCeiling(most);
  return (
    <section class="panel stack" aria-labelledby="first-event">
      <div class="apart">
        <h2 id="first-event">Time to the first event</h2>
        <span class="quiet">{days.length} days, UTC</span>
      </div>
      <div class="chart">
        <ol class="chart-axis" aria-hidden="true">
          {[top, top / 2, 0].map((tick) => (
            <li key={tick}>{tick < 1_000 ? `${tick} ms` : `${tick / 1_000} s`}</li>
          ))}
        </ol>
        <table class="charts-css column multiple hide-data show-labels show-primary-axis show-2-secondary-axes data-spacing-3 spend-chart">
          <caption class="unseen">
            Time to the first event of streams per day, in UTC, and changes of the version
          </caption>
          <thead class="unseen">
            <tr>
              <th scope="col">Day</th>
              {FIGURES.map(({ name }) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map(({ day, times, changes }, index) => (
              <tr key={day}>
                <th scope="row">
                  <span class={(days.length - 1 - index) % 4 === 0 || changes.length > 0 ? undefined : 'unseen'}>
                    {changes.length > 0 && (
                      <abbr class="version-mark" title={`New version: ${changes.map(({ id }) => id).join(', ')}`}>
                        ▲
                      </abbr>
                    )}
                    {formatDay(day)}
                  </span>
                </th>
                {times.map((ms, nth) => {
                  const { name = '', color = '' } = FIGURES[nth] ?? {};
                  const text = ms === undefined ? '' : formatFirstEventTime(ms);
                  return (
                    <td key={name} style={{ '--size': Math.min(ms ?? 0, HIGHEST_BOUND_MS) / top, '--color': color }}>
                      <span class="data">{text}</span>
                      {text && <span class="tooltip">{`${formatDay(day)} · ${name}: ${text}`}</span>}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <ul class="row legend">
        {FIGURES.map(({ name, color }) => (
          <li key={name} class="inline">
            <span style={{ background: color }} />
            {name}
          </li>
        ))}
        {rows.some(({ changes }) => changes.length > 0) && <li class="quiet">▲ The deployed version changed.</li>}
      </ul>
      <p class="quiet">
        Streams only, estimated from a histogram that begins at {LOWEST_BOUND_MS} ms: faster streams count as that. The
        time that requests waited for a budget is not included.
      </p>
    </section>
  );
}

function formatFirstEventTime(ms: number): string {
  if (ms <= LOWEST_BOUND_MS) return `${LOWEST_BOUND_MS} ms or less`;
  return ms > HIGHEST_BOUND_MS ? `more than ${formatMilliseconds(HIGHEST_BOUND_MS)}` : formatMilliseconds(ms);
}
