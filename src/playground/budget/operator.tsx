import { useEffect } from 'preact/hooks';
import { Fault } from '../ui/fault.tsx';
import { formatMoment, formatUsd } from '../ui/format.ts';
import { AlertsList } from './alerts-list.tsx';
import { FindRequest } from './find-request.tsx';
import { Gauge } from './gauge.tsx';
import { deployment, keepOverview, overviewFault, PERIODS } from './overview.ts';
import { SpendersTable } from './spenders-table.tsx';

const TITLES = { day: 'Everybody, today', week: 'Everybody, this week', month: 'Everybody, this month' } as const;

/** Shows an admin the whole deployment: what is spent of its budget, by whom, and what went wrong. */
export function Operator() {
  useEffect(keepOverview, []);
  const shared = deployment.value;
  return (
    <section class="stack operator" aria-labelledby="operator">
      <h2 id="operator">The deployment</h2>
      {overviewFault.value && <Fault text={overviewFault.value} />}
      {shared && (
        <ul class="gauges">
          {PERIODS.map((period) => {
            const { limit_usd: limit, spent_usd: spent, leased_usd: leased, resets_at } = shared[period];
            return (
              <Gauge
                key={period}
                title={TITLES[period]}
                value={formatUsd(spent)}
                of={limit === null ? 'no limit' : `of ${formatUsd(limit)}`}
                full={limit === null ? undefined : partOf(spent, limit)}
                held={limit === null ? 0 : partOf(leased, limit)}
                note={`${leased > 0 ? `${formatUsd(leased)} set aside · ` : ''}resets ${formatMoment(resets_at)}`}
              />
            );
          })}
        </ul>
      )}
      <div class="budget-columns">
        <FindRequest />
        <AlertsList />
      </div>
      <SpendersTable />
    </section>
  );
}

function partOf(spent: number, limit: number): number {
  if (limit === 0) return spent > 0 ? 1 : 0;
  return Math.min(1, Math.max(0, spent / limit));
}
