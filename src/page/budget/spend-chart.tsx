import { useAsyncAction } from '../edge/async-action.ts';
import { askExampleQuestion } from '../edge/example-question.ts';
import { hasUnrestrictedScope } from '../edge/identity.ts';
import { getModelColor, getModelDisplayName } from '../edge/models.ts';
import { refreshAllPolls } from '../edge/poll.ts';
import { EmptyState } from '../ui/empty-state.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { formatDay, formatExactUsd } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { computeAxisCeiling } from './figures/axis.ts';
import type { DaySpend } from './figures/report.ts';
import { SpendKeyLabel } from './spend-key.tsx';

/** Shows the spending of two weeks: a column for each day, a colour for each model. It is a table to screen readers too. */
export function SpendChart({ days, isOwn }: { days: readonly DaySpend[]; isOwn: boolean }) {
  const most = Math.max(...days.map(({ usd }) => usd), 0);
  const top = computeAxisCeiling(most);
  const sum = days.reduce((all, day) => all + day.usd, 0);
  const models = [...new Set(days.flatMap((day) => day.models.map(({ model }) => model)))].sort();
  return (
    <section class="panel stack" aria-labelledby="spend">
      <div class="apart">
        <h2 id="spend">Spent per day</h2>
        {days.length > 0 && (
          <span class="quiet">
            <Usd isSum value={sum} after={` in ${days.length} days, UTC`} />
          </span>
        )}
      </div>
      {most === 0 ? (
        <div class="chart-empty">{days.length > 0 && <NoSpending isOwn={isOwn} />}</div>
      ) : (
        <div class="chart">
          <ol class="chart-axis" aria-hidden="true">
            {[top, top / 2, 0].map((tick) => (
              <li key={tick}>{formatExactUsd(tick)}</li>
            ))}
          </ol>
          <table class="charts-css column multiple stacked hide-data show-labels show-primary-axis show-2-secondary-axes data-spacing-3 spend-chart">
            <caption class="unseen">US dollars per day and model, in UTC</caption>
            <thead class="unseen">
              <tr>
                <th scope="col">Day</th>
                {models.map((model) => (
                  <th key={model} scope="col">
                    <SpendKeyLabel name={model} isModel />
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {days.map(({ day, models: parts }, index) => (
                <tr key={day}>
                  <th scope="row">
                    <span class={(days.length - 1 - index) % 4 === 0 ? undefined : 'unseen'}>{formatDay(day)}</span>
                  </th>
                  {models.map((model) => {
                    const usd = parts.find((part) => part.model === model)?.usd ?? 0;
                    return (
                      <td key={model} style={{ '--size': usd / top, '--color': getModelColor(model) }}>
                        <span class="data">{formatExactUsd(usd)}</span>
                        {usd > 0 && (
                          <span class="tooltip">{`${formatDay(day)} · ${getModelDisplayName(model)}: ${formatExactUsd(usd)}`}</span>
                        )}
                      </td>
                    );
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <ul class="row legend">
        {models.map((model) => (
          <li key={model} class="inline">
            <span style={{ background: getModelColor(model) }} />
            <SpendKeyLabel name={model} isModel />
          </li>
        ))}
      </ul>
    </section>
  );
}

function NoSpending({ isOwn }: { isOwn: boolean }) {
  const { isBusy: busy, fault, run } = useAsyncAction();
  // POST /messages
  if (!isOwn || !hasUnrestrictedScope('messages')) return <p class="quiet">No spending in the last two weeks.</p>;
  const tryExample = async () => {
    await askExampleQuestion();
    refreshAllPolls();
  };
  return (
    <>
      <EmptyState example="Ask a short question" busy={busy.value} onTry={() => void run(tryExample)}>
        No spending in the last two weeks. This chart shows the cost of requests by day and model.
      </EmptyState>
      {fault.value && <FaultMessage text={fault.value} />}
    </>
  );
}
