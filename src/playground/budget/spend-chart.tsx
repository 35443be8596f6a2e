import { nameOf } from '../edge/models.ts';
import { formatDay, formatUsd } from '../ui/format.ts';
import { spend } from './report.ts';

const SERIES = 5;

/** Shows the spending of two weeks: a column for each day, a colour for each model. It is a table to screen readers too. */
export function SpendChart() {
  const days = spend.value;
  const most = Math.max(...days.map(({ usd }) => usd), 0);
  const models = [...new Set(days.flatMap((day) => day.models.map(({ model }) => model)))].sort();
  const colorOf = (model: string) => `var(--series-${(models.indexOf(model) % SERIES) + 1})`;
  return (
    <section class="panel stack" aria-labelledby="spend">
      <h2 id="spend">Spent per day</h2>
      {most === 0 ? (
        <p class="quiet chart-empty">
          {days.length === 0 ? '' : 'Nothing in the last two weeks. Ask something in Chat.'}
        </p>
      ) : (
        <table class="charts-css column multiple stacked hide-data show-labels show-primary-axis data-spacing-3 spend-chart">
          <caption class="unseen">US dollars per day and model, in UTC</caption>
          <thead class="unseen">
            <tr>
              <th scope="col">Day</th>
              {models.map((model) => (
                <th key={model} scope="col">
                  {nameOf(model)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {days.map(({ day, models: parts }, index) => (
              <tr key={day}>
                <th scope="row">
                  {(days.length - 1 - index) % 3 === 0 ? formatDay(day) : <span class="unseen">{formatDay(day)}</span>}
                </th>
                {models.map((model) => {
                  const usd = parts.find((part) => part.model === model)?.usd ?? 0;
                  return (
                    <td
                      key={model}
                      style={{ '--size': usd / most, '--color': colorOf(model) }}
                      title={`${nameOf(model)}: ${formatUsd(usd)}`}
                    >
                      <span class="data">{formatUsd(usd)}</span>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <ul class="row legend">
        {models.map((model) => (
          <li key={model} class="inline">
            <span style={{ background: colorOf(model) }} />
            {nameOf(model)}
          </li>
        ))}
      </ul>
    </section>
  );
}
